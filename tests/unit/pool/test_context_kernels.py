"""The kernel of Python by itself, with libraries that no VM has to have."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vmpool.pool.contexts
from vmpool.pool.contexts.kernels import KERNELS, program

KERNEL = Path(vmpool.pool.contexts.__file__).with_name("kernel_python.py")
PNG = b"\x89PNG\r\n\x1a\n"


class Python:
    """A kernel, as its host speaks with it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._number = 0
        assert self._read() == {"t": "ready"}

    def run(self, code: str) -> list[dict[str, Any]]:
        """What a cell puts out, its end left out."""
        self._number += 1
        self.say(KERNELS["python"].cell(self._number, code))
        found: list[dict[str, Any]] = []
        while True:
            message = self._read()
            if message["t"] == "end":
                return found
            found.append(message)

    def say(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Python]:
    with subprocess.Popen(
        [sys.executable, KERNEL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "MPLCONFIGDIR": str(tmp_path), "HOME": str(tmp_path)},
    ) as process:
        yield Python(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nprint('before')"


def test_figures_that_are_left_open_are_shown(python: Python) -> None:
    first = python.run(f"{PLOT}\nplt.show()\nNone")
    assert [message["t"] for message in first] == ["text", "show"]
    assert first[0]["d"] == "before\n"
    assert base64.b64decode(first[1]["m"]["image/png"]).startswith(PNG)
    second = python.run("plt.plot([1]); plt.show(); print('after')")
    assert [message["t"] for message in second] == ["show", "text"]
    assert python.run("1;") == []
    value = python.run("figure = plt.figure(); plt.close(figure); figure")
    assert value[0]["k"] == "result" and base64.b64decode(value[0]["m"]["image/png"]).startswith(PNG)


def test_what_is_written_in_the_middle_of_a_line_is_not_lost(python: Python) -> None:
    assert [message["d"] for message in python.run("print('a', end='')")] == ["a"]
    raw = "import sys; sys.stdout.buffer.write(b'b\\xff');"
    assert [message["d"] for message in python.run(raw)] == ["b\ufffd"]
    thread = "import threading\nt = threading.Thread(target=print, args=('c',)); t.start(); t.join()"
    assert [message["d"] for message in python.run(thread)] == ["c\n"]


def test_a_torn_request_is_left_out(python: Python) -> None:
    python.say(b'{"n": 5, "code": "x = ')
    python.say(KERNELS["python"].question("ab"))
    assert python._read() == {"t": "sync", "c": "ab", "n": 0}
    assert python.run("2")[0]["m"] == {"text/plain": "2"}


def test_a_form_that_is_too_large_or_broken(python: Python) -> None:
    found = python.run("display({'text/html': 'x' * (5 << 20), 'text/plain': 'p'}, raw=True)")
    assert found[0]["s"] == "stderr" and "too large" in found[0]["d"]
    assert found[1]["m"] == {"text/plain": "p"}
    wide = python.run("display({'text/html': '€' * (3 << 20), 'text/plain': '\\0' * (1 << 20)}, raw=True)")
    assert "text/html of 9437186 bytes" in wide[0]["d"] and wide[1]["m"]["text/plain"].endswith("(cut)")
    assert len(python.run("display({f'a/{n}': n for n in range(99)}, raw=True)")[0]["m"]) == 32
    assert python.run("print('\\ud800')")[0]["d"] == "?\n"
    broken = "class B:\n    def __repr__(self): raise ValueError('no')\n    def _repr_html_(self): 1 / 0\nB()"
    assert "ValueError: no" in python.run(broken)[0]["m"]["text/plain"]


def test_every_program_is_there() -> None:
    assert all(program(kernel.program) for kernel in KERNELS.values())
    assert "@MARK@" in program("kernel_bash.sh")
