"""What every contender runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A program of one language and what it prints."""

    language: str
    code: str
    expected: str


PYTHON = Program("python", "print(1+1)", "2")
NODEJS = Program("nodejs", "console.log(1+1)", "2")


def printing(size: int) -> Program:
    """A Python program that prints `size` bytes in lines of a hundred."""
    lines = size // 100
    code = f"import sys\nline = 'x' * 99 + '\\n'\nfor _ in range({lines // 1000}):\n"
    return Program("python", code + "    sys.stdout.write(line * 1000)\n", "")


class WrongOutput(Exception):
    """A contender answered, but not what the program prints."""


def check(output: str, program: Program = PYTHON) -> None:
    """Raises WrongOutput."""
    if output.strip() != program.expected:
        raise WrongOutput(f"{output[:200]!r} instead of {program.expected!r}")
