"""Connections to what listens inside VMs, over their agents: nothing is published on the host."""

from __future__ import annotations

import time
from collections.abc import Callable

from vmpool.agent.base import NetworkStream
from vmpool.agent.messages import Reason
from vmpool.domain import VM, VMState
from vmpool.errors import AgentRefused, NothingListens, TooManyConnections, VMNotRunning
from vmpool.pool.context import Context, key_of

USED_EVERY = 1.0
"""Seconds between two notes that a connection which carries bytes is using its VM."""


class Ports:
    """Ways to the ports of one pool's VMs.  A VM's network mode does not matter: its owner asks."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def connect(self, vm: VM, port: int) -> NetworkStream:
        """A connection to 127.0.0.1 (or ::1) at `port` in the VM.

        Raises VMNotRunning, NothingListens, TooManyConnections, InfrastructureFailure.  It is lost with the
        VM's machine, and with the connection to its agent.
        """
        if vm.state is not VMState.RUNNING:
            raise VMNotRunning(vm.id, vm.state)
        try:
            stream = await self._context.connections.get(key_of(vm)).connect(port)
        except AgentRefused as refusal:
            if refusal.reason == Reason.REFUSED:
                raise NothingListens(vm.id, port) from refusal
            if refusal.reason == Reason.TOO_MANY_CHANNELS:
                raise TooManyConnections(vm.id) from refusal
            raise
        return _Used(stream, lambda: self._context.registry.touch(vm.id, self._context.clock()))


class _Used:
    """A connection whose bytes count as use of the VM, so that one in use is not stopped as idle."""

    def __init__(self, stream: NetworkStream, touch: Callable[[], None]) -> None:
        self._stream = stream
        self._touch = touch
        self._noted = time.monotonic()
        self.send_eof = stream.send_eof
        self.aclose = stream.aclose
        self.reset = stream.reset
        touch()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await self._stream.receive(max_bytes)
        self._note()
        return data

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)
        self._note()

    def _note(self) -> None:
        now = time.monotonic()
        if now - self._noted >= USED_EVERY:
            self._noted = now
            self._touch()
