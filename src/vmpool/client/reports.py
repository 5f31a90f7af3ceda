"""What came of many jobs, for people and for other programs.  Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from vmpool.client.jobs import JobResult

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to hold."""


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs of which exactly the same came."""

    results: tuple[JobResult, ...]

    @property
    def first(self) -> JobResult:
        """One for all."""
        return self.results[0]


def groups(results: Sequence[JobResult]) -> list[Group]:
    """Jobs of which the same came together: those without a result first, failures next, then the largest."""
    found: dict[tuple[object, ...], list[JobResult]] = {}
    for result in results:
        found.setdefault(_same(result), []).append(result)
    together = [Group(tuple(of_one)) for of_one in found.values()]
    return sorted(
        together, key=lambda group: (group.first.execution is not None, group.first.ok, -len(group.results))
    )


def verdict(result: JobResult) -> str:
    """How it ended, in a word or two."""
    if result.execution is None:
        return "no result"
    if result.execution.timed_out:
        return "timed out"
    if result.execution.oom_killed:
        return "out of memory"
    return f"exit {result.execution.exit_code}"


def junit(suite: str, results: Sequence[JobResult]) -> str:
    """The results as JUnit XML: a program that fails is a failure, a job without a result an error."""
    failures = sum(result.execution is not None and not result.ok for result in results)
    errors = sum(result.execution is None for result in results)
    total = sum(result.seconds for result in results)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuites tests="{len(results)}" failures="{failures}" errors="{errors}" time="{total:.3f}">',
        f'<testsuite name={_value(suite)} tests="{len(results)}" failures="{failures}" errors="{errors}">',
    ]
    for result in results:
        lines.append(
            f"<testcase classname={_value(result.job.template)} name={_value(result.job.name)}"
            f' time="{result.seconds:.3f}">'
        )
        lines += _told(result)
        lines.append("</testcase>")
    return "\n".join([*lines, "</testsuite>", "</testsuites>", ""])


def _told(result: JobResult) -> list[str]:
    execution = result.execution
    if execution is None:
        why = "" if result.problem is None else result.problem.message
        return [f"<error message={_value(why)}/>"]
    told = []
    if not result.ok:
        told.append(f"<failure message={_value(verdict(result))}>{_text(execution.error)}</failure>")
    told.append(f"<system-out>{_text(execution.output)}</system-out>")
    told.append(f"<system-err>{_text(execution.error)}</system-err>")
    return told


def _same(result: JobResult) -> tuple[object, ...]:
    execution = result.execution
    if execution is None:
        return (None, "" if result.problem is None else result.problem.message)
    return (verdict(result), execution.output, execution.error)


def _text(text: str) -> str:
    return escape(_UNPRINTABLE.sub("\ufffd", text))


def _value(text: str) -> str:
    return quoteattr(_UNPRINTABLE.sub("\ufffd", text))
