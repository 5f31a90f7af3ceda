"""What a process says on a new connection, when what it said last went down with the old one."""

from __future__ import annotations

import pytest

from vmpool.agent import Output
from vmpool.agent.codec import Decoder, Frame, encode, pack
from vmpool.agent.messages import STDOUT, WINDOW_BYTES, Message
from vmpool.agent.process import RemoteProcess

pytestmark = pytest.mark.anyio
PIECE = 8192


class LostLink:
    """A connection that is broken: nothing said on it arrives."""

    def send(self, frame: bytes) -> bool:
        return False

    def forget(self, process: RemoteProcess, last_words: list[bytes]) -> None:
        """Nobody is told."""


def frame(message: Message, payload: bytes, *, stream: int = 0, offset: int = 0) -> Frame:
    [decoded] = Decoder().feed(encode(message, 1, payload, stream=stream, offset=offset))
    return decoded


async def test_a_lost_acknowledgement_is_repeated() -> None:
    process = RemoteProcess(1, LostLink(), b"", starting=True)
    process.on_started(frame(Message.STARTED, pack(Message.STARTED, pid=7)))
    events = process.events()
    for offset in range(0, WINDOW_BYTES // 2 + PIECE, PIECE):
        process.on_output(frame(Message.OUTPUT, b"x" * PIECE, stream=STDOUT, offset=offset))
        assert isinstance(await anext(events), Output)
    said = [part for data in process.resume() for part in Decoder().feed(data)]
    assert [part.type for part in said] == [Message.ATTACH, Message.ACK]
    assert (said[1].stream, said[1].offset) == (STDOUT, WINDOW_BYTES // 2)
