"""One user's ten busy VMs and another user's waiting time."""

from __future__ import annotations

import os

import pytest

from bench.neighbours import LIMIT, Cost, measure

ATTEMPTS = 3
"""Others use this machine too, and a ratio of two p99s is easily hit by one of them."""


@pytest.mark.skipif(
    os.geteuid() != 0, reason="nothing holds the CPU of an ordinary user's VMs, and `warnings` say so"
)
@pytest.mark.timeout(300)
def test_ten_busy_vms_cost_another_user_no_more_than_five_times() -> None:
    costs: list[Cost] = []
    for _ in range(ATTEMPTS):
        costs.append(measure("bubblewrap", 200))
        if costs[-1].ratio <= LIMIT:
            return
    pytest.fail(f"p99 alone and beside: {costs}")
