"""`vm shell` before a real terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import VM, Site
from vmpool import Client

PATIENCE = 30.0


class Screen:
    """The user's side of a terminal in which the command runs."""

    def __init__(self, master: int, running: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.running = running
        self.seen = ""

    def keys(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, pattern: str) -> str:
        """Until this is shown; what is before it is done with."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.seen)) is None:
            left = deadline - time.monotonic()
            assert left > 0, self.seen
            if not select.select([self.master], [], [], left)[0]:
                continue
            try:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
            except OSError:  # every process has left it
                raise AssertionError(self.seen) from None
        self.seen = self.seen[found.end() :]
        return found[0]

    def size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.running.send_signal(signal.SIGWINCH)  # its terminal controls no session here

    def end(self) -> int:
        """Its exit status."""
        deadline = time.monotonic() + PATIENCE
        while self.running.poll() is None:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")
        return self.running.returncode


@contextmanager
def shown(site: Site, *words: str) -> Iterator[Screen]:
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(slave)
    env = {**site.env, "TERM": "dumb"}  # no colours, no bracketed paste
    with subprocess.Popen([VM, *words], env=env, stdin=slave, stdout=slave, stderr=slave) as running:
        try:
            yield Screen(master, running)
            running.wait(PATIENCE)
            assert termios.tcgetattr(slave) == before
        finally:
            running.kill()
            os.close(slave)
            os.close(master)


@pytest.fixture
def box(site: Site) -> Site:
    site.done("create", "box", "python")
    return site


def test_a_shell(box: Site) -> None:
    with shown(box, "shell", "box") as screen:
        screen.until(r"\$ ")
        screen.keys("PS1='at home> '\n")
        screen.until("\nat home> ")
        screen.keys("stty size; echo $TERM\n")
        screen.until("24 80\r\ndumb\r\n")
        screen.size(132, 43)
        screen.keys("sleep 1000\n")
        screen.until("sleep 1000\r\n")
        time.sleep(0.5)  # until it is in the foreground: nothing says so
        screen.keys("\x03")
        screen.until(r"\^C")
        screen.keys("stty size; echo status $?\n")
        screen.until("43 132\r\nstatus 0\r\n")
        screen.keys("~?")
        screen.keys("echo \N{SNOWMAN} | tr -d '\\n'; exit 9\n")
        screen.until("\N{SNOWMAN}exit")
        assert screen.end() == 9


def test_leaving_it_and_coming_back(box: Site) -> None:
    with shown(box, "shell", "box") as screen:
        screen.until(r"\$ ")
        screen.keys("PS1='at home> '; me=here\n")
        screen.until("\nat home> ")
        screen.keys("\r~d")
        number = re.search(r"\d+", screen.until(r"--attach \d+"))
        assert number is not None and screen.end() == 0
    assert box.done("executions", "box", "--state", "running", "--quiet").split() == [number[0]]
    with shown(box, "shell", "box", "--attach", number[0]) as screen:
        screen.until("at home> ")
        screen.keys("echo I am $me\n")
        screen.until("I am here\r\n")
        screen.keys("~.")
        assert screen.end() == 128 + signal.SIGHUP
    assert box.data("executions", "box")[0]["terminal"]
    with Client(box.url, box.key) as client:
        plain = client.executions.begin("box", command="sleep 60")
        with shown(box, "shell", "box", "--attach", str(plain.id)) as screen:
            screen.until("has no terminal")
            assert screen.end() == 125
        plain.cancel(0)


def test_a_program_of_ones_own(box: Site) -> None:
    with shown(box, "shell", "box", "--", "python3", "-c", "print(input('? ') * 2)") as screen:
        screen.until(r"\? ")
        screen.keys("ab\n")
        screen.until("abab\r\n")
        assert screen.end() == 0
