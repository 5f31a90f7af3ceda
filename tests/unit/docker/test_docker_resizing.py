"""What of a container's limits can be changed, by the engine's answer about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmpool.backends.docker.resizing import refuse
from vmpool.domain import Limits
from vmpool.errors import Unsupported

NOW = Limits(cpu=1, memory=100, disk=50, processes=64)


def facts(storage: str) -> dict[str, Any]:
    """As the engine records a container made with these limits."""
    return {
        "Config": {"Labels": {"vmpool.disk": storage}},
        "HostConfig": {
            "NanoCpus": 1_000_000_000,
            "Memory": 100 << 20,
            "PidsLimit": 64,
            "Ulimits": [{"Name": "nofile", "Soft": 1}, {"Name": "fsize", "Soft": 50 << 20, "Hard": 50 << 20}],
        },
    }


@pytest.mark.parametrize(
    ("storage", "disk", "running", "asked", "why"),
    [
        ("image", 50, True, replace(NOW, memory=200, cpu=2, processes=9), None),
        ("image", 50, True, NOW, None),
        ("image", 50, True, replace(NOW, disk=60), "stop it first"),
        ("image", 50, False, replace(NOW, disk=60), None),
        ("image", 50, False, replace(NOW, disk=40), "only grows"),
        ("files", None, True, replace(NOW, memory=200), None),
        ("files", None, False, replace(NOW, disk=60), "life"),
        ("quota", None, False, replace(NOW, disk=60), "life"),
        ("memory", None, False, replace(NOW, disk=40), "life"),
    ],
)
def test_what_can_change(
    storage: str, disk: int | None, running: bool, asked: Limits, why: str | None
) -> None:
    if why is None:
        refuse(facts(storage), asked, "container", running, disk)
        return
    with pytest.raises(Unsupported, match=why):
        refuse(facts(storage), asked, "container", running, disk)


def test_a_guest_kernel_keeps_what_it_was_started_with() -> None:
    with pytest.raises(Unsupported, match="stop it first"):
        refuse(facts("image"), replace(NOW, memory=200), "gvisor", True, 50)
    refuse(facts("image"), replace(NOW, memory=200), "gvisor", False, 50)
