"""Several users' VMs at once: each has its own files, and nothing is left of any."""

from __future__ import annotations

import os

import pytest

from bench.crowd import PROGRAMS, crowded


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's host has no room to count in")
@pytest.mark.timeout(300)
def test_a_crowd_comes_is_used_and_goes() -> None:
    crowd = crowded("bubblewrap", vms=24, users=3, rounds=2)
    assert crowd.failures == []
    assert (crowd.made, crowd.executions) == (24, 24 * 2 * len(PROGRAMS))
    assert crowd.left == {}
