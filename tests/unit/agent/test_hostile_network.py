"""A guest in its agent's place, on the network: it fills no memory of the server's and stops no task."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream, UNIXSocketStream

from vmpool.agent import Client, NetworkListen, open_client
from vmpool.agent.codec import Decoder, Frame, encode, pack
from vmpool.agent.connection import Connection
from vmpool.agent.messages import AGENT_CHANNELS, CHANNEL_WINDOW_BYTES, GENERATION, HOST_CHANNELS, Message

pytestmark = pytest.mark.anyio

ONE = AGENT_CHANNELS + 1
LISTEN = NetworkListen(proxy=3128, channels=2)


def accepted(channel: int = ONE, **fields: int | str) -> bytes:
    return encode(Message.CHANNEL_ACCEPTED, channel, pack(Message.CHANNEL_ACCEPTED, **fields))


def data(payload: bytes, offset: int = 0) -> bytes:
    return encode(Message.CHANNEL_DATA, ONE, payload, offset=offset)


def eof(offset: int) -> bytes:
    return encode(Message.CHANNEL_EOF, ONE, offset=offset)


class Impostor:
    """Greets, agrees to listen, and then says what it was given; `dials`: how often it was called."""

    def __init__(self, *words: bytes) -> None:
        self.words = words
        self.dials = 0
        self.called_again = anyio.Event()
        self.heard: list[Frame] = []

    async def play(self, stream: ByteStream) -> None:
        decoder = Decoder()
        try:
            async with stream:
                while True:
                    for frame in decoder.feed(await stream.receive()):
                        await self._answer(stream, frame)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return

    async def _answer(self, stream: ByteStream, frame: Frame) -> None:
        if frame.type == Message.HELLO:
            hello = pack(Message.HELLO_OK, generation=GENERATION, boot_id=7)
            await stream.send(encode(Message.HELLO_OK, frame.channel, hello))
        elif frame.type == Message.LISTEN:
            await stream.send(encode(Message.DONE, frame.channel))
            for word in self.words:
                await stream.send(word)
        elif frame.type == Message.PING:
            await stream.send(encode(Message.PONG, frame.channel))
        else:
            self.heard.append(frame)


@asynccontextmanager
async def client_of(impostor: Impostor) -> AsyncIterator[Client]:
    async with anyio.create_task_group() as tasks:

        async def dial() -> ByteStream:
            impostor.dials += 1
            if impostor.dials > 1:
                impostor.called_again.set()
            near, far = socket.socketpair()
            tasks.start_soon(impostor.play, await UNIXSocketStream.from_socket(far))
            return await UNIXSocketStream.from_socket(near)

        async with open_client(dial, patience=0.5) as client:
            await client.open_network(LISTEN)
            yield client


@pytest.mark.parametrize(
    "words",
    [
        [accepted(ONE), accepted(ONE + 1), accepted(ONE + 2)],
        [accepted(), accepted()],
        [accepted(HOST_CHANNELS + 1)],
        [accepted(host="a\nb", direct=1)],
        [accepted(host="x" * 256, direct=1)],
        [accepted(port=65536, direct=1)],
        [accepted(), data(b"x", 1)],
        [accepted(), data(b"")],
        [accepted(), data(bytes(CHANNEL_WINDOW_BYTES)), data(b"x", CHANNEL_WINDOW_BYTES)],
        [accepted(), eof(0), data(b"x")],
        [accepted(), eof(0), eof(0)],
        [accepted(), eof(5)],
        [accepted(), encode(Message.CHANNEL_CLOSE, ONE)],
        [accepted(), encode(Message.STARTED, ONE)],
    ],
    ids=[
        *("more channels than asked for", "one twice", "one of the host's", "no host's name", "a long one"),
        *("no port", "gap", "empty", "past the credit", "after the end", "two ends", "wrong end"),
        *("the host's own message", "an execution's message"),
    ],
)
async def test_what_no_agent_says_ends_the_connection(words: list[bytes]) -> None:
    impostor = Impostor(*words)
    async with client_of(impostor):
        with anyio.fail_after(10):
            await impostor.called_again.wait()


async def test_frames_for_channels_nobody_knows_are_ignored() -> None:
    unknown = (
        data(b"x" * 9, 77),
        eof(3),
        encode(Message.CHANNEL_RESET, ONE),
        encode(Message.CHANNEL_CREDIT, ONE),
    )
    impostor = Impostor(*unknown, accepted())
    async with client_of(impostor) as client:
        with anyio.fail_after(10):
            await anext(client.guest_connections())
        assert impostor.dials == 1


async def test_channels_broken_off_at_once_do_not_gather() -> None:
    flood = [
        word
        for number in range(500)
        for word in (accepted(ONE + number), encode(Message.CHANNEL_RESET, ONE + number))
    ]
    impostor = Impostor(b"".join(flood), accepted(ONE + 1000))
    async with client_of(impostor) as client:
        with anyio.fail_after(10):
            connection = await anext(client.guest_connections())
        assert connection.number == ONE + 1000
        assert impostor.dials == 1


async def test_tiny_pieces_take_no_more_than_their_bytes() -> None:
    pieces = b"".join(data(b"x", offset) for offset in range(CHANNEL_WINDOW_BYTES))
    impostor = Impostor(accepted(), pieces)
    async with client_of(impostor) as client:
        with anyio.fail_after(30):
            connection = await anext(client.guest_connections())
            await client.ping()  # answered behind them
            assert await connection.receive(1 << 20) == b"x" * CHANNEL_WINDOW_BYTES
        assert impostor.dials == 1


@asynccontextmanager
async def deaf() -> AsyncIterator[tuple[Connection, UNIXSocketStream]]:
    """A connection whose far side has greeted and does not read any more."""
    near, far = socket.socketpair()
    ours, theirs = await UNIXSocketStream.from_socket(near), await UNIXSocketStream.from_socket(far)

    async def greet() -> None:
        hello = pack(Message.HELLO_OK, generation=GENERATION, boot_id=7)
        (frame,) = Decoder().feed(await theirs.receive())
        await theirs.send(encode(Message.HELLO_OK, frame.channel, hello))

    async with theirs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(greet)
            connection = await Connection.open(ours)
        yield connection, theirs


async def test_who_sends_much_waits_for_a_far_side_that_does_not_read() -> None:
    async with deaf() as (connection, theirs), anyio.create_task_group() as tasks:
        served = anyio.CancelScope()

        async def serve() -> None:
            with served:
                await connection.serve(lambda frame: None)

        tasks.start_soon(serve)
        await anyio.sleep(0.05)
        with anyio.move_on_after(0.3) as waiting:
            while True:
                connection.send(encode(Message.CHANNEL_DATA, ONE, bytes(1 << 15)))
                await connection.room()
        assert waiting.cancelled_caught
        assert connection._queued < 1 << 20

        async def read() -> None:
            async for _ in theirs:  # until the connection is closed
                pass

        tasks.start_soon(read)
        with anyio.fail_after(10):
            await connection.room()
        served.cancel()


async def test_a_far_side_that_lets_everything_wait_is_left() -> None:
    async with deaf() as (connection, _), anyio.create_task_group() as tasks:

        async def pile() -> None:
            await anyio.sleep(0.05)
            for _ in range(12):
                connection.send(encode(Message.PING, 1, bytes(1 << 20)))

        tasks.start_soon(pile)
        with anyio.fail_after(10):
            assert isinstance(await connection.serve(lambda frame: None), anyio.BrokenResourceError)
