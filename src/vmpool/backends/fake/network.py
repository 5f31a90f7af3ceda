"""The network of a fake machine: its programs are the test's own, on the same channels as real ones."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, Literal, Protocol

import anyio
from anyio.abc import TaskGroup

from vmpool.agent.base import NetworkListen
from vmpool.agent.channel import Channel
from vmpool.agent.codec import PORT, Frame, encode, pack, unpack
from vmpool.agent.messages import AGENT_CHANNELS, Message, Reason

PATIENCE = 10.0
"""Seconds for which a program's connection waits for a host."""

Handler = Callable[["Program"], Coroutine[Any, Any, None]]


class Session(Protocol):
    """The agent's end of one connection to the host."""

    def send(self, frame: bytes) -> None:
        """Queue one frame."""


class Program(Channel):
    """A program's end of a channel.  Closed, it resets what still comes, as a socket does."""

    def _say_closed(self) -> None:
        if not self._finished:
            self._carrier.put(encode(Message.CHANNEL_EOF, self.number, offset=self._sent))

    def on_frame(self, frame: Frame) -> None:
        if frame.type == Message.CHANNEL_CLOSE:
            self._ended = self._finished = True
            self._carrier.forget(self)
            self._wake()
        else:
            super().on_frame(frame)


class FakeNetwork:
    """What the agent listens for, and the channels to the host that said so last.

    listen: what the host asked for.  servers: what listens in the machine, by port.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self.listen = NetworkListen()
        self.servers: dict[int, Handler] = {}
        self._tasks = tasks
        self._carrier: _HostCarrier | None = None
        self._attached = anyio.Event()
        self._numbers = itertools.count(AGENT_CHANNELS + 1)

    async def open(
        self, host: str = "", port: int = 0, listener: Literal["proxy", "direct"] = "direct"
    ) -> Program:
        """Play a program that connects: to `host` and `port`, or to the proxy.

        Raises ConnectionRefusedError if nothing is listened for there, ConnectionResetError if no host comes.
        """
        if not (port in self.listen.direct if listener == "direct" else self.listen.proxy):
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing listens for {listener} {host}:{port}")
        if self._carrier is None:
            with anyio.move_on_after(PATIENCE):
                await self._attached.wait()
        if self._carrier is None or self._carrier.accepted >= self.listen.channels:
            raise ConnectionResetError(errno.ECONNRESET, "the host does not take it")
        fields = pack(Message.CHANNEL_ACCEPTED, direct=int(listener == "direct"), host=host, port=port)
        channel = Program(next(self._numbers), self._carrier)
        self._carrier.channels[channel.number] = channel
        self._carrier.put(encode(Message.CHANNEL_ACCEPTED, channel.number, fields))
        return channel

    def on_listen(self, session: Session, payload: bytes) -> None:
        """A host says what to listen for; the channels are its own from now on."""
        fields = unpack(Message.LISTEN, payload)
        self.listen = NetworkListen(
            fields.u64("proxy"),
            tuple(PORT.unpack(record)[0] for record in fields.many("direct")),
            bool(fields.u64("resolver")),
            fields.u64("channels"),
        )
        self._attach(session)

    def on_frame(self, session: Session, frame: Frame) -> None:
        """A frame for a channel."""
        if frame.type == Message.CHANNEL_CONNECT:
            self._on_connect(session, frame)
            return
        carrier = self._carrier if self._carrier is not None and self._carrier.session is session else None
        channel = None if carrier is None else carrier.channels.get(frame.channel)
        if channel is not None:
            channel.on_frame(frame)
        elif frame.type == Message.CHANNEL_DATA:
            session.send(encode(Message.CHANNEL_RESET, frame.channel))

    def _on_connect(self, session: Session, frame: Frame) -> None:
        handler = self.servers.get(unpack(Message.CHANNEL_CONNECT, frame.payload).u64("port"))
        if handler is None:
            refusal = pack(
                Message.FAILED,
                reason=Reason.REFUSED,
                message="nothing listens at this port",
                errno=errno.ECONNREFUSED,
            )
            session.send(encode(Message.FAILED, frame.channel, refusal))
            return
        carrier = self._attach(session)
        channel = carrier.channels[frame.channel] = Program(frame.channel, carrier)
        session.send(encode(Message.CHANNEL_CONNECTED, frame.channel))
        self._tasks.start_soon(handler, channel)

    def _attach(self, session: Session) -> _HostCarrier:
        if self._carrier is None or self._carrier.session is not session:
            if self._carrier is not None:
                self._carrier.lose()
            self._carrier = _HostCarrier(session)
            self._attached.set()
        return self._carrier

    def detach(self, session: Session) -> None:
        """The host's connection ended."""
        if self._carrier is not None and self._carrier.session is session:
            self._carrier.lose()
            self._carrier = None
            self._attached = anyio.Event()


class _HostCarrier:
    """Implements `vmpool.agent.channel.Carrier` over a session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.channels: dict[int, Program] = {}

    @property
    def accepted(self) -> int:
        return len(self.channels)

    def put(self, frame: bytes) -> None:
        self.session.send(frame)

    async def room(self) -> None:
        await anyio.lowlevel.checkpoint()

    def forget(self, channel: Channel) -> None:
        self.channels.pop(channel.number, None)

    def lose(self) -> None:
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.lose("the host's connection ended")
