"""A VM's life on every OCI runtime the engine has."""

from __future__ import annotations

import pytest

from vmpool.backends.base import MachineKey, MachineSpec, MachineState
from vmpool.backends.docker.engine import connected
from vmpool.backends.docker.spec import isolation_of
from vmpool.errors import AgentUnreachable

from .conftest import MakeBackend
from .inside import agent_of, run, shell

pytestmark = pytest.mark.anyio

KEY = MachineKey(1)
SPEC = MachineSpec("box", "bash")


@pytest.mark.parametrize("runtime", ["runc", "crun", "runsc"])
async def test_a_vms_life(request: pytest.FixtureRequest, make_backend: MakeBackend, runtime: str) -> None:
    async with connected() as client:
        registered = (await client.system.info())["Runtimes"]
    if runtime not in registered:
        missing = f"the engine has no runtime '{runtime}'; scripts/docker-engine registers it"
        if f"docker-{runtime}" in request.config.getoption("--require-backend"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    async with make_backend(runtime=runtime) as backend:
        info = await backend.describe()
        assert (info.grade, info.isolation) == (runtime, isolation_of(runtime))
        made = await backend.create(KEY, SPEC)
        assert await backend.create(KEY, SPEC) == made
        assert (made.isolation, made.state) == (info.isolation, MachineState.RUNNING)
        async with agent_of(backend, KEY) as agent:
            assert await shell(agent, "hostname; id -u; echo kept | tee ~/file > /tmp/file") == "box\n1000\n"
            status = await shell(agent, "grep -E 'CapBnd|CapEff' /proc/self/status")
            assert status.split() == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16]
            # gVisor lets a namespace's first process be killed from within: the VM then ends, and only it.
            kill = "kill -9 -1" if info.isolation == "gvisor" else "kill -9 1; kill -9 -1"
            _output, ended = await run(agent, "/bin/sh", "-c", f"{kill}; sleep 5")
            assert ended.exit_code != 0
            assert await shell(agent, "echo still here") == "still here\n"
            data = bytes(range(256)) * 8192
            await agent.write_file("/home/user/bytes", data)
            assert await agent.read_file("/home/user/bytes") == data
        usage = await backend.usage(KEY)
        assert usage.memory_bytes is not None
        assert usage.memory_bytes > 0
        await backend.stop(KEY)
        await backend.stop(KEY)
        with pytest.raises(AgentUnreachable):
            await backend.dial(KEY)
        stopped = await backend.snapshot(KEY, "stopped")
        await backend.start(KEY)
        async with agent_of(backend, KEY) as agent:
            assert await shell(agent, "cat ~/file /tmp/file") == "kept\nkept\n"
            await shell(agent, "echo later > ~/file")
        running = await backend.snapshot(KEY, "running")
        assert await backend.list_snapshots() == [running, stopped]
        for reference, text in (("stopped", "kept\n"), ("running", "later\n")):
            restored = MachineKey(1, 2)
            await backend.create(restored, MachineSpec("box", "bash", snapshot=reference))
            async with agent_of(backend, restored) as agent:
                assert await shell(agent, "cat ~/file") == text
            await backend.destroy(restored)
        await backend.destroy(KEY)
        await backend.destroy(KEY)
        assert await backend.list() == []
