"""What every test has: the event loop, a watch on blocking calls, and backends that must not be skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="a conformance backend that must be there: its absence is an error, not a skip (repeatable)",
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def blocking_calls_are_errors() -> Iterator[None]:
    """A call made by our own code that would block the event loop raises BlockingError.

    Sleeping, sockets, locks and SQLite count.  Files do not: drivers look at small ones as they connect.
    A small write to SQLite's log, which waits for nobody, is the one exception; see `vmpool.store.sqlite`.
    """
    with blockbuster_ctx(["vmpool"]) as blockbuster:
        for name, function in blockbuster.functions.items():
            if name.startswith(("os.", "io.")):
                function.deactivate()
            elif name.startswith("sqlite3."):
                function.can_block_in("vmpool/store/sqlite.py", "write_behind")
        yield
