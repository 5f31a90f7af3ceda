"""Two walls on one engine: each VM has the one it asked for, and keeps it."""

from __future__ import annotations

import pytest

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.docker import DockerBackend

from .conftest import MakeBackend
from .inside import agent_of, shell

pytestmark = pytest.mark.anyio

PLAIN, WALLED = MachineKey(1), MachineKey(2)


async def kernel(backend: DockerBackend, key: MachineKey) -> str:
    """What the VM's own kernel says of itself."""
    async with agent_of(backend, key) as agent:
        return await shell(agent, "cat /proc/version")


async def test_each_vm_has_the_wall_it_asked_for(
    request: pytest.FixtureRequest, make_backend: MakeBackend
) -> None:
    async with make_backend(runtime="runc") as backend:
        info = await backend.describe()
        if "gvisor" not in info.isolations:
            missing = "the engine has no runtime 'runsc'; scripts/docker-engine registers it"
            if "docker-runsc" in request.config.getoption("--require-backend"):
                pytest.fail(missing, pytrace=False)
            pytest.skip(missing)
        assert (info.isolation, info.isolations[0]) == ("container", "container")
        plain = await backend.create(PLAIN, MachineSpec("plain", "bash"))
        walled = await backend.create(WALLED, MachineSpec("walled", "bash", isolation="gvisor"))
        assert (plain.isolation, walled.isolation) == ("container", "gvisor")
        assert any("guest kernel" in warning for warning in walled.warnings)
        assert not any("guest kernel" in warning for warning in plain.warnings)
        host = await kernel(backend, PLAIN)
        own = await kernel(backend, WALLED)
        assert own != host

    # The next server has another default; what stands keeps its wall, running, stopped and started again.
    async with make_backend(runtime="runsc") as later:
        assert {machine.key: machine.isolation for machine in await later.list()} == {
            PLAIN: "container",
            WALLED: "gvisor",
        }
        assert await kernel(later, PLAIN) == host
        await later.stop(PLAIN)
        assert (await later.start(PLAIN)).isolation == "container"
        assert await kernel(later, PLAIN) == host
    async with make_backend(runtime="runc") as last:
        await last.stop(WALLED)
        assert (await last.start(WALLED)).isolation == "gvisor"
        assert await kernel(last, WALLED) == own
