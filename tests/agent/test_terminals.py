"""START with a terminal, and RESIZE."""

from __future__ import annotations

import pytest

from tests.agent.wire import Refused, Wire
from vmpool.agent.codec import pack
from vmpool.agent.messages import Message

SIZE = 80 << 16 | 24


def test_one_stream_and_a_session(wire: Wire) -> None:
    script = "stty size; echo err >&2; echo tty >/dev/tty; ps -o sid=,tpgid= -p $$ >/dev/null; exit 4"
    wire.start(1, "/bin/sh", "-c", script, terminal=SIZE, stdin_open=1)
    assert wire.finish(1).outcome == ("24 80\r\nerr\r\ntty\r\n", "", 4, 0)


def test_the_end_of_input_is_typed(wire: Wire) -> None:
    wire.start(1, "/bin/sh", "-c", "cat; echo done", terminal=SIZE, stdin_open=1)
    wire.expect(Message.STARTED, 1)
    wire.send(Message.STDIN, 1, b"part")
    wire.send(Message.STDIN_CLOSE, 1, offset=4)
    assert wire.finish(1).outcome[0].replace("^D\b\b", "").endswith("partpartdone\r\n")


def test_resize(wire: Wire) -> None:
    wire.start(1, "/bin/sh", "-c", "read x; stty size", terminal=SIZE, stdin_open=1)
    wire.expect(Message.STARTED, 1)
    wire.ask(Message.RESIZE, execution=1, terminal=132 << 16 | 43)
    wire.send(Message.STDIN, 1, b"\n")
    assert wire.finish(1).outcome[0].endswith("43 132\r\n")


@pytest.mark.parametrize("size", [1, 80 << 16, 1 << 32 | SIZE, (1 << 64) - 1, 0xFFFF])
def test_sizes_that_are_none(wire: Wire, size: int) -> None:
    wire.start(1, "/bin/true", terminal=size, stdin_open=1)
    with pytest.raises(Refused, match="bad_request"):
        wire.expect(Message.STARTED, 1)
    wire.start(2, "/bin/cat", terminal=SIZE, stdin_open=1)
    wire.expect(Message.STARTED, 2)
    with pytest.raises(Refused, match="bad_request"):
        wire.ask(Message.RESIZE, execution=2, terminal=size)


def test_resize_of_what_has_none(wire: Wire) -> None:
    wire.start(1, "/bin/cat", stdin_open=1)
    wire.expect(Message.STARTED, 1)
    with pytest.raises(Refused, match="not_supported"):
        wire.ask(Message.RESIZE, execution=1, terminal=SIZE)
    with pytest.raises(Refused, match="unknown_execution"):
        wire.ask(Message.RESIZE, execution=99, terminal=SIZE)


def test_a_terminal_needs_open_input(wire: Wire) -> None:
    wire.send(Message.START, 1, pack(Message.START, argv=[b"/bin/true"], terminal=SIZE))
    with pytest.raises(Refused, match="bad_request"):
        wire.expect(Message.STARTED, 1)
