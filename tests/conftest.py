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
    """A call made by our own code that would block the event loop raises BlockingError."""
    with blockbuster_ctx(["vmpool"]) as watch:
        for function in watch.functions.values():
            # asyncpg looks for ~/.pgpass; Alembic reads its scripts, once, before anything else runs
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_arguments")
            function.can_block_in("alembic/script/base.py", ("__init__", "_load_revisions", "run_env"))
        yield
