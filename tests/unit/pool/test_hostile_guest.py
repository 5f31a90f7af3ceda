"""A guest in its agent's place may be as silent as it likes: its callers are answered all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar, cast

import anyio
import pytest

from vmpool.agent.codec import encode, pack
from vmpool.agent.messages import Message
from vmpool.backends.fake.wire import pair
from vmpool.errors import AgentUnreachable

from .world import QUICK, World, code, vm_request

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Mute:
    """Every stream greets and then says nothing more."""

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        ours, theirs = pair()
        hello = pack(Message.HELLO_OK, generation=1, boot_id=7, pid=1)
        await theirs.send(encode(Message.HELLO_OK, 1 << 63, hello))
        return cast("T", ours)


async def test_a_start_that_is_never_answered(world: World) -> None:
    async with world.server(replace(QUICK, backstop=0.1), dial=Mute()) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        with anyio.fail_after(5), pytest.raises(AgentUnreachable, match="in time") as lost:
            await pool.execute(world.ada, vm.id, code("print(1)", timeout=0.2))
        assert lost.value.dispatch == "outcome_unknown"
        with anyio.fail_after(5):
            await pool.delete_vm(world.ada, vm.id)
