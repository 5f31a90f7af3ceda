"""One open connection to the agent of each running machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from anyio.abc import ByteStream, TaskGroup

from vmpool.agent.client import Client
from vmpool.agent.link import LinkEvent
from vmpool.backends.base import Backend, MachineKey
from vmpool.telemetry import Metrics, log_context


@dataclass(slots=True)
class _Way:
    """The key that leads to a client's machine."""

    key: MachineKey


class Connections:
    """Opens a client once per machine and keeps it; a broken stream is the client's own business.

    patience: seconds a client tries before those who wait are told.
    """

    def __init__(self, backend: Backend, tasks: TaskGroup, patience: float, metrics: Metrics) -> None:
        self._backend = backend
        self._metrics = metrics
        self._tasks = tasks
        self._patience = patience
        self._clients: dict[MachineKey, Client] = {}
        self._ways: dict[MachineKey, _Way] = {}

    def get(self, key: MachineKey) -> Client:
        """The machine's client; dialling happens in the background and is awaited by its first call."""
        client = self._clients.get(key)
        if client is None:
            way = _Way(key)
            client = Client(partial(self._dial, way), patience=self._patience, watch=self._watch)
            self._clients[key], self._ways[key] = client, way
            self._tasks.start_soon(self._keep, way, client, name=f"agent of {key}")
        return client

    def open(self) -> int:
        """How many agents are connected at this moment."""
        return sum(client.connected for client in self._clients.values())

    async def _keep(self, way: _Way, client: Client) -> None:
        log_context.outside()  # whoever asked first goes, the connection stays
        if not way.key.is_spare:
            log_context.for_vm(way.key.vm_id)
        await client.run()

    def _watch(self, event: LinkEvent) -> None:
        match event:
            case LinkEvent.CONNECTED | LinkEvent.RECONNECTED:
                self._metrics.agent_connections.add(event.value)
            case LinkEvent.UNREACHABLE:
                self._metrics.agent_failures.add()

    async def _dial(self, way: _Way) -> ByteStream:
        return await self._backend.dial(way.key)

    def move(self, old: MachineKey, new: MachineKey) -> None:
        """The machine has another key by now; its open connection is kept."""
        client, way = self._clients.pop(old, None), self._ways.pop(old, None)
        if client is not None and way is not None:
            way.key = new
            self._clients[new], self._ways[new] = client, way

    def hold(self, key: MachineKey) -> None:
        """The machine is being held: that its agent is silent is no fault."""
        if key in self._clients:
            self._clients[key].hold(True)

    def release(self, key: MachineKey) -> None:
        """It goes on."""
        if key in self._clients:
            self._clients[key].hold(False)

    def has(self, key: MachineKey) -> bool:
        """Whether a client stands open."""
        return key in self._clients

    async def close(self, key: MachineKey) -> None:
        """Close it, the machine being about to stop or gone; what runs over it fails as unreachable."""
        client = self._clients.pop(key, None)
        self._ways.pop(key, None)
        if client is not None:
            await client.aclose()
