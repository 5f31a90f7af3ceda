"""Limits of one execution, through a whole pool, on every backend with programs."""

from __future__ import annotations

import pytest

from tests.conformance.backends import Power
from tests.conformance.pool import USER, Serve, make
from vmpool.domain import ExecutionRequest, Outcome, ProcessLimits
from vmpool.pool.vm_pool_manager import VMPoolManager

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.requires(Power.REAL_PROGRAMS)]

OPENED = """
import os
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print(error.errno, held[-1])
"""
WRITTEN = """
import os
with open("large", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(1 << 16))
    except OSError as error:
        print(error.errno, os.path.getsize("large"))
"""


async def outcome(pool: VMPoolManager, limits: ProcessLimits, **asked: str) -> Outcome:
    found = await pool.execute(USER, "box", ExecutionRequest(limits=limits, **asked))  # type: ignore[arg-type]
    assert found.outcome is not None
    return found.outcome


@pytest.mark.parametrize("warm", [False, True])
async def test_of_python(serve: Serve, warm: bool) -> None:
    """A fresh interpreter and one that waits are limited alike, and neither leaves its limits to the next."""
    async with serve() as pool:
        await make(pool)
        if warm:
            await outcome(pool, ProcessLimits(), code="pass")
        asked = {} if warm else {"env": {"PYTHONHASHSEED": "1"}}

        async def limited(code: str, **limits: int) -> Outcome:
            return await outcome(pool, ProcessLimits(**limits), code=code, **asked)  # type: ignore[arg-type]

        assert (await limited("while True: pass", cpu_seconds=1)).exit_code == 128 + 24
        assert (await limited(OPENED, open_files=32)).output == "24 31\n"
        assert (await limited(WRITTEN, file_size=1)).output == f"27 {1 << 20}\n"
        assert (await limited("print(len(open('/dev/null').read()))")).output == "0\n"
        await pool.delete_vm(USER, "box")


@pytest.mark.requires(Power.HOST_KERNEL)  # gVisor's takes RLIMIT_DATA and lets mappings pass
@pytest.mark.parametrize("warm", [False, True])
async def test_of_memory(serve: Serve, warm: bool) -> None:
    async with serve() as pool:
        await make(pool)
        if warm:
            await outcome(pool, ProcessLimits(), code="pass")
        large = "print(len(bytearray(100 << 20)))"
        assert "MemoryError" in (await outcome(pool, ProcessLimits(memory=64), code=large)).error
        assert (await outcome(pool, ProcessLimits(), code=large)).output == f"{100 << 20}\n"
        await pool.delete_vm(USER, "box")


async def test_of_what_a_command_starts(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        limits = ProcessLimits(cpu_seconds=7, memory=64, file_size=2, open_files=40)
        shown = await outcome(pool, limits, command="sh -c 'ulimit -t; ulimit -d; ulimit -f; ulimit -n'")
        assert shown.output.split() == ["7", str(64 << 10), str(2 << 11), "40"]
        await pool.delete_vm(USER, "box")
