"""What the command line accepts, and what it says to what it does not."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import typer

from vmpool.cli import arguments
from vmpool.cli.command import app, run
from vmpool.client import local
from vmpool.client.languages import SUFFIXES
from vmpool.domain import LANGUAGES, language_named

EIGHT = ("create", "list", "start", "stop", "execute", "status", "delete", "batch")
FURTHER = (
    *("audit", "doctor", "serve", "logs", "output", "restart", "pause", "resume", "limits"),
    *(
        "snapshot",
        "snapshots",
        "restore",
        "run",
        "pool",
        "network",
        "forward",
        "share",
        "events",
        "map",
        "shard",
        "fork",
        "shell",
        "install",
    ),
    *("executions", "attach", "wait", "cancel", "signal"),
    *("cp", "ls", "rm", "sync", "watch"),
)
GROUPS = {
    "secret": ("delete", "list", "set"),
    "webhooks": ("create", "delete", "deliveries", "list", "rotate", "test", "update"),
    "context": ("create", "delete", "execute", "interrupt", "list", "restart"),
    "template": (
        *("build", "builds", "cancel", "delete", "list", "log", "publish", "share", "show", "tree"),
    ),
    "key": ("create", "list", "revoke", "rotate"),
    "user": ("create", "disable", "enable", "list", "update"),
    "images": ("base", "build", "list"),
    "server": ("backup", "restore"),
}
EVERY = [
    *([name] for name in (*EIGHT, *FURTHER)),
    *([group, name] for group, names in GROUPS.items() for name in names),
]


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may reach a server, or start one."""
    monkeypatch.setenv(local.AUTOSTART_VARIABLE, "0")
    monkeypatch.setenv(local.STATE_VARIABLE, "/nonexistent")
    monkeypatch.delenv(local.URL_VARIABLE, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")


def vm(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit status of `vm` with these words."""
    monkeypatch.setattr(sys, "argv", ["vm", *words])
    return run()


def test_the_commands_are_these() -> None:
    command = typer.main.get_command(app)
    commands = getattr(command, "commands")  # noqa: B009 (typer types it as any command)
    assert set(commands) == {*EIGHT, *FURTHER, *GROUPS}
    for group, names in GROUPS.items():
        assert set(commands[group].commands) == set(names)


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_has_help(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vm(monkeypatch, *words, "--help") == 0
    shown = capsys.readouterr().out
    assert f"vm {' '.join(words)} " in shown
    assert "\b" not in shown


@pytest.mark.parametrize("name", ["create", "list", "execute", "delete", "batch", "run", "logs", "serve"])
def test_help_teaches_with_examples(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vm(monkeypatch, name, "-h")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith(f"vm {name}") for line in lines)


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert vm(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == "vm 0.1.0\n"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["create", "only-a-name"],
        ["create", "a", "python", "--cpu", "many"],
        ["create", "a", "python", "--env", "NOVALUE"],
        ["create", "a", "python", "--label", "=x"],
        ["create", "a", "python", "--network", "open"],
        ["start"],
        ["execute", "1"],
        ["execute", "1", "code", "--command", "ls"],
        ["execute", "1", "code", "--file", "also"],
        ["execute", "1", "--file", "/nonexistent"],
        ["execute", "1", "-", "--stdin"],
        ["batch"],
        ["delete"],
        ["run", "program.unknown"],
        ["run", "/nonexistent.py"],
        ["key", "revoke", "name"],
        ["key", "create", "ci", "--scope", "root"],
        ["user", "update", "ada", "--max-vms", "few"],
        ["serve", "--config", "/nonexistent"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_2_and_said_on_standard_error(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vm(monkeypatch, *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: vm" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["execute", "1", "-"], "CODE"),
        (["execute", "1", "--stdin", "code"], "--stdin"),
        (["run", "program.py"], "standard input"),
        (["run", "-", "--language", "python"], "FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_standard_input_that_is_no_text_is_said(
    words: list[str],
    hint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("program.py").write_text("print(1)")
    Path("picture").write_bytes(b"\x89PNG\xff")
    with Path("picture").open() as picture:
        kept = os.dup(0)
        os.dup2(picture.fileno(), 0)
        try:
            monkeypatch.setattr(sys, "stdin", picture)
            assert vm(monkeypatch, *words) == 2
        finally:
            os.dup2(kept, 0)
            os.close(kept)
    said = capsys.readouterr().err
    assert hint in said
    assert "not UTF-8 text" in said


def test_run_names_its_own_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vm(monkeypatch, "run", str(tmp_path / "missing.py")) == 2
    assert "'FILE'" in capsys.readouterr().err
    assert vm(monkeypatch, "run", "notes.txt") == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "name one of bash, c, cpp, go" in said


def test_without_a_server_it_is_125_and_one_block(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vm(monkeypatch, "list") == 125
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vm: no server is running; start one with 'vm serve'")
    assert "Traceback" not in captured.err


def test_without_an_engine_images_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/engine")
    assert vm(monkeypatch, "images", "list") == 125
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("vm: no Docker engine answers")


def test_pairs() -> None:
    assert arguments.pairs(["A=1", "B=x=y", "C="], "--env") == {"A": "1", "B": "x=y", "C": ""}
    assert arguments.pairs([], "--env") is None
    assert arguments.pairs(None, "--env") is None


def test_a_number_is_an_id_and_the_rest_a_name() -> None:
    assert arguments.reference("12") == 12
    assert arguments.reference("vm-12") == "vm-12"


def test_the_languages_are_the_servers() -> None:
    assert set(arguments.LANGUAGES) == set(LANGUAGES)
    assert arguments.languages("py") == ["python", "python3.11", "python3.13"]
    own = {name for name, language in LANGUAGES.items() if language.version_of is None}
    assert {language_named(name).name for name in SUFFIXES.values()} == own


def test_completion_never_starts_a_server_nor_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(local.AUTOSTART_VARIABLE)
    assert arguments.vm_names("te") == []


def test_the_page_lists_every_command() -> None:
    page = (Path(__file__).parents[3] / "docs" / "command.md").read_text().replace("\\|", "|")
    listed = set()
    for words in re.findall(r"^\| `vm ([^`]+)`", page, re.MULTILINE):
        first, _, rest = words.partition(" ")
        subcommands = rest.split("|") if first in GROUPS else [""]
        listed |= {f"{first} {subcommand}".strip() for subcommand in subcommands}
    assert listed == {" ".join(words) for words in EVERY}
