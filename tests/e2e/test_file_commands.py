"""Files in and out of a VM, through the `vm` command and the SDK: what arrives is what was sent."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import VM, Site
from vmpool import Client

NAMES = ("plain.txt", "two words.txt", "ünïcödé.txt", os.fsdecode(b"no-\xff-text"))


@pytest.fixture
def box(site: Site) -> Site:
    """A site with a VM `a` for shell lines."""
    site.done("create", "a", "bash")
    return site


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with odd names, a link, an empty directory and a program."""
    top = tmp_path / "project"
    (top / "empty").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (top / name).write_bytes(bytes(range(256)) * number)
    (top / "run.sh").write_text("echo ran\n")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("run.sh")
    return top


def contents(top: Path) -> dict[str, object]:
    """Every entry below `top`: a file's bytes and mode, where a link leads, None for a directory."""
    found: dict[str, object] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777) if path.is_file() else None
    return found


def test_a_tree_comes_back_as_it_went(box: Site, project: Path, tmp_path: Path) -> None:
    box.done("cp", str(project), "a:work")
    assert box.done("execute", "a", "work/link; stat -c %U work/run.sh") == "ran\nuser\n"
    back = tmp_path / "back"
    box.done("cp", "a:work", str(back))
    assert contents(back) == contents(project)
    names = box.done("ls", "a:work")
    assert "two words.txt" in names and "run.sh" in names


def test_one_file_and_what_is_wrong(box: Site, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(3 << 20))
    box.done("cp", str(large), "a:")
    box.done("cp", "a:large.bin", str(tmp_path / "again.bin"))
    assert (tmp_path / "again.bin").read_bytes() == large.read_bytes()
    missing = box.vm("cp", "a:missing", str(tmp_path))
    assert missing.returncode == 125 and "missing" in missing.stderr
    box.done("rm", "a:large.bin")
    assert box.vm("ls", "a:large.bin").returncode == 125


def test_a_sync_sends_what_changed(box: Site, project: Path) -> None:
    def synced(*more: str) -> tuple[int, int]:
        done = box.vm("sync", str(project), "a:copy", *more)
        assert done.returncode == 0, done.stderr
        said = re.search(r"(\d+) sent \(.*\), (\d+) removed", done.stdout + done.stderr)
        assert said is not None
        return int(said[1]), int(said[2])

    sent, removed = synced()
    assert sent >= len(NAMES) + 1 and removed == 0
    assert synced() == (0, 0)
    (project / "run.sh").write_text("echo changed\n")
    (project / "plain.txt").unlink()
    assert synced() == (1, 0)
    assert synced("--delete") == (0, 1)
    assert box.done("execute", "a", "copy/run.sh; test -e copy/plain.txt || echo gone") == "changed\ngone\n"


def test_the_sdk_does_the_same(box: Site, project: Path, tmp_path: Path) -> None:
    with Client(box.url, box.key) as client:
        vm = client.get_vm("a")
        vm.files.write("in.txt", "hello")
        steps: list[int] = []
        vm.files.upload(project, "work/project", progress=lambda done, total: steps.append(done))
        assert steps == sorted(steps) and steps[-1] > 0
        vm.execute(command="tr a-z A-Z < in.txt > out.txt")
        assert vm.files.read("out.txt") == b"HELLO"
        vm.files.download("work/project", tmp_path / "copy")
        assert contents(tmp_path / "copy") == contents(project)
        vm.files.move("in.txt", "old.txt")
        assert {one.name for one in vm.files.list(".")} >= {"old.txt", "out.txt", "work"}
        vm.files.remove("work", recursive=True)
        assert "work" not in {one.name for one in vm.files.list(".")}


def test_what_changes_is_shown(box: Site) -> None:
    box.done("execute", "a", "mkdir -p work/in")
    with subprocess.Popen(
        [VM, "watch", "a:work"], env=box.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as watching:
        assert watching.stderr is not None and watching.stdout is not None
        assert "watching a:work" in watching.stderr.readline()
        box.done("execute", "a", "cd work; echo x > in/new; mv in/new old")
        shown = [watching.stdout.readline().split() for _ in range(3)]
        assert shown[:2] == [["created", "in/new"], ["changed", "in/new"]]
        assert shown[2][:2] in (
            ["moved", "in/new"],
            ["removed", "in/new"],
        )  # both halves come together, mostly
        box.done("execute", "a", "rm -r work")
        assert "removed     ./" in watching.stdout.read()
        assert watching.wait(30) == 0
