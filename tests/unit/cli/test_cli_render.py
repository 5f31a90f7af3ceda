"""What is shown: figures, tables, problems."""

from __future__ import annotations

import io
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest

from vmpool.cli import render
from vmpool.client import errors


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, None),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (5 << 20, "5.0 MB"),
        (3 << 30, "3.0 GB"),
        (5 << 40, "5120.0 GB"),
    ],
)
def test_sizes(count: int | None, shown: str | None) -> None:
    assert render.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, None), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_durations(seconds: float | None, shown: str | None) -> None:
    assert render.duration(seconds) == shown


def test_moments() -> None:
    moment = datetime.now(UTC) - timedelta(minutes=5)
    assert render.ago(moment) == "5 min ago"
    assert render.ago(moment.replace(tzinfo=None)) == "5 min ago"
    assert render.ago(None) == ""


def test_a_table_in_a_pipe_is_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("id", "name"), [(1, "a-long-name"), (22, None)])
    assert capsys.readouterr().out == "ID  NAME\n1   a-long-name\n22\n"


def test_a_terminal_of_80_columns_shows_whole_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    headings = ("id", "name", "status", "language", "cpu", "memory", "disk", "backend", "created")
    row = (2, "v-nodejs", "stopped", "python", 1, "512 MB", "1024 MB", "bubblewrap", "18 min ago")
    render.table(headings, [row])
    line = next(line for line in stream.getvalue().splitlines() if "v-nodejs" in line)
    assert re.sub(r"\x1b\[[0-9;]*m", "", line).split() == " ".join(map(str, row)).split()


def test_a_table_on_a_terminal_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    render.table(("name", "status"), [("[red]x", "running")])
    shown = terminal.getvalue()
    assert "\x1b[32mrunning" in shown
    assert "[red]x" in shown  # a name is not markup


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    render.table(("name", "status"), [("x", "running")])
    assert "running" in terminal.getvalue()
    assert "\x1b[3" not in terminal.getvalue()


def test_a_spinner_shows_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with render.busy("creating"):
        pass
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with render.busy("creating"):
        pass
    assert "creating" in terminal.getvalue()


def test_facts_leave_out_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    render.facts([("a", 0), ("long name", "x"), ("gone", None), ("empty", "")])
    assert capsys.readouterr().out == "a          0\nlong name  x\n"


def test_a_problem_says_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    render.problem(errors.VMNotFound("no VM 'x'", status=404, code="vm_not_found"))
    assert capsys.readouterr().err == "vm: no VM 'x'\n  'vm list' shows your VMs.\n"


def test_a_problem_says_whether_it_may_have_run_and_where_to_look(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.problem(
        errors.AgentUnreachable(
            "the agent does not answer",
            status=502,
            code="agent_unreachable",
            retryable=True,
            dispatch="outcome_unknown",
            request_id="r1",
        )
    )
    shown = capsys.readouterr().err
    assert "not known whether it was carried out" in shown
    assert "Trying again may help." not in shown
    assert "Request r1" in shown


def test_a_problem_that_may_pass_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    render.problem(errors.LimitReached("busy", status=429, code="too_many_executions", retryable=True))
    assert "Trying again may help." in capsys.readouterr().err


def test_a_problem_on_a_terminal_stands_out_and_is_not_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    render.problem(errors.NoServer("install it with: pip install 'vmpool[server]'"))
    assert "\x1b[" in terminal.getvalue()
    assert "vmpool[server]" in terminal.getvalue()


def test_every_hint_is_for_a_code_that_exists() -> None:
    own = {"no_server", "server_unreachable", "unexpected_answer"}
    assert set(render._HINTS) <= own | set(errors.BY_CODE)
