"""A fork of a warm Python does what `python3 FILE` does."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from demo.problems import problems
from tests.conformance.backends import Candidate, Power
from tests.conformance.differential.both_ways import BothWays, Program, open_both_ways
from tests.conformance.differential.python_programs import PROGRAMS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
every_backend = pytest.mark.requires(Power.REAL_PROGRAMS, Power.HOST_KERNEL)
whole_suite = pytest.mark.requires(Power.REAL_PROGRAMS, Power.ALL_LANGUAGES)

A_FEW = (
    "arguments",
    "modules",
    "gc-objects",
    "error-chained",
    "exit-300",
    "atexit-after-threads",
    "pool-fork",
)
"""On every backend that has the host's kernel; on gVisor there are no spares."""

NEW_EACH_TIME = {
    "random": "import random; print(random.random())",
    "uuid": "import uuid; print(uuid.uuid4())",
    "secrets": "import secrets; print(secrets.token_hex())",
    "urandom": "import os; print(os.urandom(16))",
    "temporary-names": "import tempfile; print(tempfile.mktemp())",
    "pid": "import os; print(os.getpid())",
}


@pytest.fixture(scope="module")
async def python(candidate: Candidate, anyio_backend: str) -> AsyncIterator[BothWays]:
    async with candidate.open_world() as world, open_both_ways(world, "python") as both:
        yield both


@every_backend
@pytest.mark.parametrize("name", A_FEW)
async def test_a_few_programs(python: BothWays, name: str) -> None:
    warm, cold = await python.run(PROGRAMS[name])
    assert warm == cold


@whole_suite
@pytest.mark.parametrize("name", PROGRAMS)
async def test_awkward_programs(python: BothWays, name: str) -> None:
    warm, cold = await python.run(PROGRAMS[name])
    assert warm == cold


@whole_suite
@pytest.mark.timeout(300)
async def test_the_164_problems(python: BothWays) -> None:
    different = {}
    for problem in problems():
        warm, cold = await python.run(Program(problem.code))
        if warm != cold or warm[0] != 0:
            different[problem.name] = (warm, cold)
    assert different == {}


@whole_suite
@pytest.mark.parametrize("name", NEW_EACH_TIME)
async def test_what_is_new_each_time(python: BothWays, name: str) -> None:
    """Children of one interpreter do not share their luck."""
    program = Program(NEW_EACH_TIME[name])
    warm = [(await python.run(program))[0] for _ in range(3)]
    assert len(set(warm)) == len(warm)
