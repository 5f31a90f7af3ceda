"""Hard limits demanded where the host, here the fake one, has none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vmpool.errors import LimitsNotHard

from .world import QUICK, World, vm_request

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("setting", "asked", "refused"),
    [
        (False, None, False),
        (False, False, False),
        (False, True, True),
        (True, None, True),
        (True, True, True),
        (True, False, False),
    ],
)
async def test_the_request_wins_over_the_setting(
    world: World, setting: bool, asked: bool | None, refused: bool
) -> None:
    async with world.server(replace(QUICK, strict_limits=setting)) as pool:
        request = vm_request("box", strict_limits=asked)
        if not refused:
            assert (await pool.create_vm(world.ada, request)).warnings
            return
        with pytest.raises(LimitsNotHard) as error:
            await pool.create_vm(world.ada, request)
        assert error.value.context["soft"] == "cpu, memory, disk, processes"
        assert await pool.list_vms(world.ada) == []
        assert await world.host_is_empty()
