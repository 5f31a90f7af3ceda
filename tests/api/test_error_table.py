"""The error table is complete, and `docs/errors.md` shows it as the code has it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmpool import errors
from vmpool.api.errors import EDGE_CODES, STATUS, problem_of, respond_to, status_of

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
BEGIN = "<!-- codes: rendered from vmpool.errors by tests/api/test_error_table.py -->\n"
END = "<!-- end of codes -->"


def tree(kind: type[errors.VMPoolError] = errors.VMPoolError) -> Iterator[type[errors.VMPoolError]]:
    """The class and all below it, families before their members."""
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def occurrence(kind: type[errors.VMPoolError]) -> errors.VMPoolError:
    """One of this kind, whatever its constructor wants."""
    arguments: dict[type[errors.VMPoolError], tuple[object, ...]] = {
        errors.IdempotencyMismatch: (),
        errors.Unsupported: ("snapshot", "fake"),
        errors.IsolationUnavailable: ("gvisor", "fake", ("none",), "use another"),
        errors.LimitsNotHard: ("fake", ("disk",)),
        errors.InvalidRequest: ("name", "must be short"),
        errors.Unauthenticated: (),
        errors.UserDisabled: (1, 2),
        errors.RateLimited: ("requests", 0.5),
        errors.NameTaken: ("box",),
        errors.IllegalTransition: (1, "running", "creating"),
        errors.VMNotRunning: (1, "stopped"),
        errors.QuotaExceeded: (10,),
        errors.TooManyExecutions: (1, 32),
        errors.RangeNotSatisfiable: ("offset", 7),
        errors.EventsGone: (7,),
        errors.TooManyWebhooks: (10,),
        errors.TooManyTemplates: (20,),
        errors.BuildEnded: (1, "ready"),
        errors.TooManySecrets: (64,),
        errors.OutputNotKept: (7, "stdout"),
        errors.SnapshotTooLarge: (200, 100),
        errors.FileRefused: ("a", "permission", "Permission denied"),
        errors.FileChanged: ("a", "has another size", 3),
        errors.DiskFull: ("a",),
        errors.PoolFull: ("memory", 100, 99),
        errors.AgentRefused: ("not_found", "no such program"),
        errors.AgentTooOld: (2, 1),
        errors.Interrupted: (),
        errors.ShareInvalid: (),
        errors.TooManyConnections: (7,),
        errors.ContextDead: (7, "it was killed"),
        errors.TooManyContexts: (7, 16),
        errors.TooManyCells: (7, 64),
        errors.NothingListens: (7, 8080),
        errors.BadPortAnswer: (7, 8080, "is none"),
    }
    make: Callable[..., errors.VMPoolError] = kind
    return make(*arguments.get(kind, ("it failed",)))


@pytest.mark.parametrize("kind", list(tree()))
def test_every_error_becomes_a_problem(kind: type[errors.VMPoolError]) -> None:
    error = occurrence(kind)
    problem = problem_of(error, "r1")
    assert 400 <= problem.status <= 599
    assert (problem.code, problem.retryable, problem.request_id) == (kind.code, kind.retryable, "r1")
    assert (problem.dispatch is not None) == issubclass(kind, errors.InfrastructureFailure)
    answer = respond_to(error, "r1")
    assert answer.headers["content-type"] == "application/problem+json"
    if problem.status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1


def test_codes_are_distinct() -> None:
    codes = [kind.code for kind in tree()]
    assert len(codes) == len(set(codes))


def test_no_entry_of_the_table_repeats_its_family() -> None:
    for kind, status in STATUS.items():
        if kind is not errors.VMPoolError:
            assert status_of(kind.__mro__[1]) != status, kind


def test_context_that_json_has_not_is_text() -> None:
    error = errors.Conflict("no", when=PAGE, ids=[1])
    assert problem_of(error, "r").context == {"when": str(PAGE), "ids": "[1]"}


def test_codes_on_the_page() -> None:
    """`VMPOOL_BLESS=1` rewrites the table."""
    rendered = "| code | status | retry | what it means |\n|---|---|---|---|\n" + "".join(rows())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("VMPOOL_BLESS") == "1":
        PAGE.write_text(f"{before}{BEGIN}{rendered}{END}{after}")
    else:
        assert shown == rendered


def rows() -> Iterator[str]:
    for kind in tree():
        meaning = " ".join((kind.__doc__ or "").split())
        if kind is errors.VMPoolError:
            meaning = "A fault of the server; its log has it under `request_id`."
        retry = "yes" if kind.retryable else "no"
        yield f"| `{kind.code}` | {status_of(kind)} | {retry} | {meaning} |\n"
    known = {kind.code for kind in tree()}
    for status, code in EDGE_CODES.items():
        if code not in known:
            yield f"| `{code}` | {status} | no | Refused by HTTP itself, before the pool is asked. |\n"
