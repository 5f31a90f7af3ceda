"""Network `full`: for whom, and what is said to the others."""

from __future__ import annotations

import pytest

from vmpool.backends.base import BackendInfo
from vmpool.errors import Unsupported
from vmpool.pool.requests import settle
from vmpool.pool.settings import PoolSettings

from .world import vm_request


def info(name: str, *capabilities: str, isolation: str = "container") -> BackendInfo:
    isolations = (isolation, "gvisor") if isolation == "container" else (isolation,)
    return BackendInfo(name, "1", isolation, "", ("python",), {}, capabilities, isolations)


def test_where_it_is_offered() -> None:
    request = vm_request(network="full")
    new = settle(1, request, info("docker", "network:full"), PoolSettings(), 4, 64_000, 64_000)
    assert (new.network, new.isolation) == ("full", "container")


@pytest.mark.parametrize(
    ("of", "isolation", "why"),
    [
        (info("docker"), None, "on the docker backend; .* the operator's network.full"),
        (info("bubblewrap", isolation="namespaces"), None, "on the bubblewrap backend; 'full' needs backend"),
        (info("docker", "network:full"), "gvisor", "'full' needs isolation 'container', not 'gvisor'"),
    ],
)
def test_where_it_is_not(of: BackendInfo, isolation: str | None, why: str) -> None:
    with pytest.raises(Unsupported, match=why) as refused:
        settle(1, vm_request(network="full", isolation=isolation), of, PoolSettings(), 4, 64_000, 64_000)
    assert refused.value.context["field"] == "network"
