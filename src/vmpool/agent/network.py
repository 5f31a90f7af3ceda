"""The network half of a link: what the agent is to listen for, and the channels over the connection there is.

Channels end with their connection; what is listened for does not.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal

import anyio

from vmpool.agent.base import NetworkListen
from vmpool.agent.channel import AcceptedChannel, Channel
from vmpool.agent.codec import PORT, Frame, ProtocolError, encode, pack, unpack
from vmpool.agent.connection import Connection
from vmpool.agent.messages import HOST_CHANNELS, Message, Reason
from vmpool.errors import AgentRefused, AgentUnreachable

_NAME_BYTES = 255
_CONNECTED_MOST = 128
"""Connections into one VM at once."""


def listen_payload(listen: NetworkListen) -> bytes:
    """The payload of LISTEN."""
    return pack(
        Message.LISTEN,
        proxy=listen.proxy,
        direct=[PORT.pack(port) for port in listen.direct],
        resolver=int(listen.resolver),
        channels=listen.channels,
    )


class Network:
    """All network channels of one machine.  The link tells when a connection comes and when it goes."""

    def __init__(self) -> None:
        self.listen = NetworkListen()
        self._most = 0
        self._connection: Connection | None = None
        self._channels: dict[int, Channel] = {}
        self._accepted = 0
        self._arrivals: deque[AcceptedChannel] = deque()
        self._arrival = anyio.Event()
        self._numbers = itertools.count(HOST_CHANNELS + 1)
        self._connecting: dict[int, _Connecting] = {}
        self._closed = False

    def set_listen(self, listen: NetworkListen) -> None:
        """From now on this is what the agent listens for, on every later connection too."""
        self.listen = listen
        self._most = max(self._most, listen.channels) if listen else self._most

    # -- the connection

    def connected(self, connection: Connection) -> None:
        """A fresh connection carries the channels from now on."""
        self._connection = connection

    def disconnected(self) -> None:
        """The connection is gone, and every channel with it."""
        self._connection = None
        self._accepted = 0
        self._arrivals.clear()
        for connecting in self._connecting.values():
            connecting.fail(AgentUnreachable("the connection to the agent broke"))
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.lose("the connection to the agent broke")

    def close(self) -> None:
        """No connection follows: whoever waits for programs' connections is told."""
        self._closed = True
        self._arrival.set()

    # -- `channel.Carrier`

    def put(self, frame: bytes) -> None:
        if self._connection is not None:
            self._connection.send(frame)

    async def room(self) -> None:
        if self._connection is not None:
            await self._connection.room()

    def forget(self, channel: Channel) -> None:
        if self._channels.pop(channel.number, None) is not None and isinstance(channel, AcceptedChannel):
            self._accepted -= 1
            if channel in self._arrivals:  # broken off before anybody asked for it
                self._arrivals.remove(channel)

    # -- for the client

    async def arrivals(self) -> AsyncIterator[AcceptedChannel]:
        """Programs' connections as they come."""
        while True:
            while self._arrivals:
                yield self._arrivals.popleft()
            if self._closed:
                return
            self._arrival = anyio.Event()
            await self._arrival.wait()

    async def connect(self, port: int) -> Channel:
        """A channel to a port in the VM, over the connection there is."""
        if self._connection is None:
            raise AgentUnreachable("the connection to the agent broke")
        if len(self._connecting) + len(self._channels) - self._accepted >= _CONNECTED_MOST:
            raise AgentRefused(
                Reason.TOO_MANY_CHANNELS, f"{_CONNECTED_MOST} connections into the VM are open"
            )
        number = next(self._numbers)
        connecting = self._connecting[number] = _Connecting(Channel(number, self))
        self.put(encode(Message.CHANNEL_CONNECT, number, pack(Message.CHANNEL_CONNECT, port=port)))
        try:
            await connecting.done.wait()
        except BaseException:
            if connecting.failure is None:
                self.put(encode(Message.CHANNEL_RESET, number))
                self._channels.pop(number, None)
            raise
        finally:
            del self._connecting[number]
        if connecting.failure is not None:
            raise connecting.failure
        return connecting.channel

    # -- frames

    def on_frame(self, frame: Frame) -> None:
        """Take a network channel's frame; ProtocolError for what no correct agent sends."""
        channel = self._channels.get(frame.channel)
        if channel is not None:
            channel.on_frame(frame)
        elif frame.type == Message.CHANNEL_ACCEPTED:
            self._on_accepted(frame)
        elif (connecting := self._connecting.get(frame.channel)) is not None:
            self._on_connecting(connecting, frame)

    def _on_accepted(self, frame: Frame) -> None:
        if frame.channel >= HOST_CHANNELS or self._accepted >= self._most:
            raise ProtocolError("the agent opens more channels than it may")
        fields = unpack(Message.CHANNEL_ACCEPTED, frame.payload)
        listener: Literal["proxy", "direct"] = "direct" if fields.u64("direct") else "proxy"
        host, port = fields.text("host"), fields.u64("port")
        if len(host) > _NAME_BYTES or not (host.isascii() and host.isprintable()) or port > 0xFFFF:
            raise ProtocolError("a connection to what is no host")
        channel = AcceptedChannel(frame.channel, self, listener, host, port)
        self._channels[frame.channel] = channel
        self._accepted += 1
        self._arrivals.append(channel)
        self._arrival.set()

    def _on_connecting(self, connecting: _Connecting, frame: Frame) -> None:
        if frame.type == Message.CHANNEL_CONNECTED:
            self._channels[frame.channel] = connecting.channel
            connecting.done.set()
        elif frame.type == Message.FAILED:
            fields = unpack(Message.FAILED, frame.payload)
            number = fields.u64("errno") or None
            connecting.fail(AgentRefused(fields.text("reason"), fields.text("message"), number))


class _Connecting:
    """A CHANNEL_CONNECT on its way."""

    __slots__ = ("channel", "done", "failure")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.done = anyio.Event()
        self.failure: AgentRefused | AgentUnreachable | None = None

    def fail(self, error: AgentRefused | AgentUnreachable) -> None:
        """Tell who waits."""
        if not self.done.is_set():
            self.failure = error
            self.done.set()
