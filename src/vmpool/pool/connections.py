"""One open connection to the agent of each running machine."""

from __future__ import annotations

from functools import partial

from anyio.abc import TaskGroup

from vmpool.agent.client import Client
from vmpool.backends.base import Backend, MachineKey


class Connections:
    """Opens a client once per machine and keeps it; a broken stream is the client's own business.

    patience: seconds a client tries before those who wait are told.
    """

    def __init__(self, backend: Backend, tasks: TaskGroup, patience: float) -> None:
        self._backend = backend
        self._tasks = tasks
        self._patience = patience
        self._clients: dict[MachineKey, Client] = {}

    def get(self, key: MachineKey) -> Client:
        """The machine's client; dialling happens in the background and is awaited by its first call."""
        client = self._clients.get(key)
        if client is None:
            client = Client(partial(self._backend.dial, key), patience=self._patience)
            self._clients[key] = client
            self._tasks.start_soon(client.run, name=f"agent of {key}")
        return client

    def has(self, key: MachineKey) -> bool:
        """Whether a client stands open."""
        return key in self._clients

    async def close(self, key: MachineKey) -> None:
        """Close it, the machine being about to stop or gone; what runs over it fails as unreachable."""
        client = self._clients.pop(key, None)
        if client is not None:
            await client.aclose()
