"""The programs that go at the network, in a VM that has one: its broker is all they meet outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import anyio
import pytest

from tests.conformance.abuse.arena import Arena, carry_out
from tests.conformance.abuse.families.network import NETWORK
from tests.conformance.abuse.table import Abuse
from tests.conformance.backends import Power
from vmpool.agent import Client, NetworkListen
from vmpool.domain.network import NetworkPolicy
from vmpool.network.broker import Broker, Surroundings
from vmpool.network.limits import NetworkLimits
from vmpool.network.resolver import Resolver, system_lookup
from vmpool.pool.runner import PROXY_PORT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.requires(Power.REAL_PROGRAMS),
]
LISTEN = NetworkListen(proxy=PROXY_PORT, direct=(80, 443), resolver=True)
ASKING = frozenset({"the-host-s-loopback", "the-server", "metadata"})
"""Those that ask the broker for something, which it must have refused."""


class Nobody:
    """A VM in no group."""

    def find(self, host: str) -> None:
        return None

    def owns(self, host: str) -> bool:
        return False


@pytest.fixture
async def broker(arena: Arena, anyio_backend: str) -> AsyncIterator[Broker]:
    """The network of the shared VM as the pool opens it for mode `filtered`; closed again afterwards."""
    client = (await arena.shared()).client
    async with anyio.create_task_group() as tasks:
        around = Surroundings(
            Resolver(tasks, system_lookup, timeout=5.0), NetworkLimits(), (), lambda: datetime(2026, 1, 1)
        )
        opened = Broker(around, NetworkPolicy(), Nobody())
        await client.open_network(LISTEN)
        tasks.start_soon(_serve, opened, client)
        yield opened
        await client.open_network(NetworkListen())
        tasks.cancel_scope.cancel()


async def _serve(broker: Broker, client: Client) -> None:
    async with anyio.create_task_group() as tasks:
        async for connection in client.guest_connections():
            direct = (connection.host, connection.port) if connection.listener == "direct" else None
            tasks.start_soon(broker.serve, connection, direct)


@pytest.mark.parametrize("abuse", [pytest.param(abuse, id=abuse.name) for abuse in NETWORK.programs])
async def test_abuse_with_a_filtered_network(arena: Arena, broker: Broker, abuse: Abuse) -> None:
    await carry_out(arena, abuse)
    totals = broker.journal.totals
    assert totals.allowed == 0
    assert totals.refused > 0 or abuse.name not in ASKING
