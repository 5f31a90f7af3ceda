"""A VM with a wall of its own, from the SDK to the kernel it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.pools import running_pool, why_missing
from vmpool.client.errors import IsolationUnavailable


def test_two_walls_on_one_server(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    missing = why_missing("docker")
    if missing is not None:
        if "docker" in request.config.getoption("--require-backend"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    with running_pool("docker", tmp_path) as pool:
        offered = pool.client.pool_status().backend.isolations
        if "gvisor" not in offered:
            if "docker-runsc" in request.config.getoption("--require-backend"):
                pytest.fail("the engine has no runtime 'runsc'", pytrace=False)
            pytest.skip("the engine has no runtime 'runsc'")
        plain = pool.client.create_vm("plain", "bash")
        walled = pool.client.create_vm("walled", "bash", isolation="gvisor")
        assert {vm.name: vm.isolation for vm in pool.client.list_vms()} == {
            "plain": "container",
            "walled": "gvisor",
        }
        kernels = {pool.client.execute(vm.id, command="cat /proc/version").output for vm in (plain, walled)}
        assert len(kernels) == 2
        with pytest.raises(IsolationUnavailable) as refused:
            pool.client.create_vm("small", "bash", isolation="namespaces")
        assert refused.value.context["offered"] == ", ".join(offered)
