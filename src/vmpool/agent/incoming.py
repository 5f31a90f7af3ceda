"""One output stream of an execution, counted in bytes from its beginning."""

from __future__ import annotations

from typing import Literal

from vmpool.agent.base import Output
from vmpool.agent.codec import Frame, ProtocolError
from vmpool.agent.messages import WINDOW_BYTES


class Incoming:
    """Offsets: `received` from the agent, `consumed` by our caller, `acked` to the agent."""

    __slots__ = ("acked", "adrift", "consumed", "name", "number", "received", "total")

    def __init__(self, number: int, name: Literal["stdout", "stderr"], offset: int) -> None:
        self.number = number
        self.name: Literal["stdout", "stderr"] = name
        self.received = self.consumed = self.acked = offset
        self.total: int | None = None
        self.adrift = False

    def accept(self, frame: Frame) -> Output | None:
        """The new part of an OUTPUT frame; ProtocolError for a gap or for more than the window allows."""
        data, offset = frame.payload, frame.offset
        if self.adrift:  # started by another client: the agent replays from what that one acknowledged
            self.received = self.consumed = self.acked = offset
            self.adrift = False
        if offset > self.received:
            raise ProtocolError(f"{self.name} jumps from {self.received} to {offset}")
        if known := self.received - offset:
            data, offset = data[known:], self.received
        if not data:
            return None
        self.received += len(data)
        if self.received - self.acked > WINDOW_BYTES:
            raise ProtocolError(f"{self.name}: more than {WINDOW_BYTES} bytes without acknowledgement")
        return Output(self.name, offset, data)

    def complete(self) -> bool:
        return self.total is None or self.received >= self.total
