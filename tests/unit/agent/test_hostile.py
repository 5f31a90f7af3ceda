"""A guest that has taken its agent's place: what it says costs its own VM, never the server."""

from __future__ import annotations

import socket

import anyio
import pytest
from anyio.abc import ByteStream, UNIXSocketStream

from vmpool.agent import ProcessSpec, open_client
from vmpool.agent.codec import Decoder, encode, pack
from vmpool.agent.connection import Connection
from vmpool.agent.messages import Message
from vmpool.backends.fake.wire import MemoryStream, pair
from vmpool.errors import AgentUnreachable

pytestmark = pytest.mark.anyio

LARGEST = (1 << 64) - 1


async def impostor(stream: MemoryStream, exited: bytes) -> None:
    """Greets, says that any execution has begun, and ends it with `exited`."""
    decoder = Decoder()
    try:
        while True:
            for frame in decoder.feed(await stream.receive()):
                if frame.type == Message.HELLO:
                    hello = pack(Message.HELLO_OK, generation=1, boot_id=7, pid=1)
                    await stream.send(encode(Message.HELLO_OK, frame.channel, hello))
                elif frame.type in (Message.START, Message.ATTACH):
                    await stream.send(encode(Message.STARTED, frame.channel, pack(Message.STARTED, pid=2)))
                    await stream.send(encode(Message.EXITED, frame.channel, exited))
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


@pytest.mark.parametrize("field", ["status", "signal", "max_rss_bytes"])
async def test_an_end_that_cannot_be(field: str) -> None:
    """No such number reaches the history, whose columns could not hold it."""
    async with anyio.create_task_group() as tasks:

        async def dial() -> ByteStream:
            ours, theirs = pair()
            tasks.start_soon(impostor, theirs, pack(Message.EXITED, **{field: LARGEST}))
            return ours

        async with open_client(dial, patience=0.3) as client:
            process = await client.start(1, ProcessSpec(("true",)))
            with anyio.fail_after(5), pytest.raises(AgentUnreachable) as lost:
                [event async for event in process.events()]
            assert lost.value.dispatch == "outcome_unknown"
        tasks.cancel_scope.cancel()


async def test_a_socket_that_takes_nothing_any_more_is_left() -> None:
    """Its far side sees to it that nothing can be written while nothing tells the reader so."""
    near, far = socket.socketpair()
    ours, theirs = await UNIXSocketStream.from_socket(near), await UNIXSocketStream.from_socket(far)

    async def greet() -> None:
        hello = pack(Message.HELLO_OK, generation=1, boot_id=7)
        (frame,) = Decoder().feed(await theirs.receive())
        await theirs.send(encode(Message.HELLO_OK, frame.channel, hello))

    async with theirs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(greet)
            connection = await Connection.open(ours)

        async def talk() -> None:
            await anyio.sleep(0.05)
            far.shutdown(socket.SHUT_RD)
            connection.send(encode(Message.PING, 1))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk)
            with anyio.fail_after(5):
                assert isinstance(await connection.serve(lambda frame: None), anyio.BrokenResourceError)
