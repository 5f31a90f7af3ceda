"""What a kernel says, from bytes cut anywhere, and what no kernel would say."""

from __future__ import annotations

import json

import pytest

from vmpool.domain.code_context import CellState, Raised, Shown, Text
from vmpool.pool.contexts.cell import MOST_BYTES, MOST_OUTPUTS, OUTPUT_COST, Budget, Cell
from vmpool.pool.contexts.wire import (
    LARGEST_FRAME,
    BrokenKernel,
    Ended,
    Frames,
    Marks,
    Message,
    Ready,
    Synced,
)

SAID = (
    {"t": "ready"},
    {"t": "text", "n": 1, "s": "stdout", "d": "hé\n"},
    {"t": "text", "n": 1, "s": "stderr", "d": "e"},
    {"t": "show", "n": 1, "k": "result", "m": {"text/plain": "1", "application/json": [1, {"a": None}]}},
    {"t": "error", "n": 1, "name": "E", "value": "v", "trace": "t"},
    {"t": "end", "n": 1, "ok": False},
    {"t": "sync", "c": "ab", "n": 7},
)
MEANT: list[Message] = [
    Ready(),
    Text("stdout", "hé\n"),
    Text("stderr", "e"),
    Shown({"text/plain": "1", "application/json": [1, {"a": None}]}, True),
    Raised("E", "v", "t"),
    Ended(1, "stdout", 1),
    Synced("ab", 7),
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_frames_cut_anywhere(size: int) -> None:
    data = b"".join(json.dumps(message, ensure_ascii=False).encode() + b"\n" for message in SAID)
    frames = Frames("stdout")
    found = [message for at in range(0, len(data), size) for message in frames.feed(data[at : at + size])]
    assert found == MEANT


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b'"ready"',
        b"{}",
        b'{"t": "nonsense"}',
        b'{"t": "text", "s": "stdout"}',
        b'{"t": "text", "s": "stdout", "d": 1}',
        b'{"t": "end", "n": "1"}',
        b'{"t": "end", "n": true}',
        b'{"t": "end", "n": -1}',
        b'{"t": "end", "n": 1e400}',
        b'{"t": "show", "m": []}',
        b'{"t": "show", "m": {"text/plain": NaN}}',
        b'{"t": "show", "m": {"%s": 1}}' % (b"x" * 300),
        json.dumps({"t": "show", "m": {str(number): 1 for number in range(40)}}).encode(),
        b'{"t": "show", "m": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"t": "text", "s": "stdout", "d": "\xff"}',
        b'{"t": "text", "s": "stdout", "d": "\\ud800"}',
    ],
)
def test_what_no_kernel_says(line: bytes) -> None:
    with pytest.raises(BrokenKernel):
        Frames("stdout").feed(line + b"\n")


def test_a_message_without_end_is_not_kept() -> None:
    frames = Frames("stdout")
    with pytest.raises(BrokenKernel):
        for _ in range(LARGEST_FRAME // 65536 + 2):
            frames.feed(b"x" * 65536)


MARKED = "a\x1eb€\x1ek:end:3:0\x1ec\x1ek:sync:0aff:12\x1e\x1ej:end:3:0\x1e\x1ek:end:x:0\x1e$".encode()


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_marks_cut_anywhere(size: int) -> None:
    marks = Marks("stdout", "k")
    found = [m for at in range(0, len(MARKED), size) for m in marks.feed(MARKED[at : at + size])]
    found += marks.feed(b"." * 200)  # no mark is as long: what was held is text
    told = [message for message in found if not isinstance(message, Text)]
    assert told == [Ended(3, "stdout", 0), Synced("0aff", 12)]
    text = "".join(message.text for message in found if isinstance(message, Text))
    assert text == "a\x1eb€c\x1ej:end:3:0\x1e\x1ek:end:x:0\x1e$" + "." * 200


def test_a_flood_of_what_could_be_a_mark_is_not_kept() -> None:
    marks = Marks("stdout", "k")
    size = sum(
        len(message.text)
        for _ in range(200)
        for message in marks.feed(b"\x1ek:" * 1000)
        if isinstance(message, Text)
    )
    assert 200 * 3000 - size <= 200


def test_a_cell_keeps_no_more_than_it_may() -> None:
    cell = Cell("", 1)
    piece = Text("stdout", "x" * (1 << 16))
    for _ in range(1000):
        cell.add(piece)
    cell.end(CellState.OK)
    kept = sum(len(output.text) for output in cell.result.outputs if isinstance(output, Text))
    assert cell.result.truncated and MOST_BYTES - len(piece.text) - 1000 * OUTPUT_COST <= kept <= MOST_BYTES
    many = Cell("", 1)
    for _ in range(MOST_OUTPUTS + 5):
        many.add(Text("stdout", "."))
    many.end(CellState.OK)
    assert many.result.truncated and many.result.outputs == (Text("stdout", "." * MOST_OUTPUTS),)
    wide = Cell("", 1)
    wide.add(Text("stdout", "€" * (3 << 20)))  # four bytes each, if one of them is beyond the first plane
    assert wide.truncated
    deep = Cell("", 1)
    deep.add(Shown({"application/json": [["x" * 1000] * 100] * 100}, True))
    assert deep.truncated


def test_cells_of_one_vm_share_what_they_may_keep() -> None:
    budget = Budget(10_000)
    first, second = Cell("", 1, budget), Cell("", 1, budget)
    first.add(Text("stdout", "x" * 6000))
    second.add(Text("stdout", "x" * 6000))
    assert (first.truncated, second.truncated) == (False, True)
    del first
    third = Cell("", 1, budget)
    third.add(Text("stdout", "x" * 6000))
    assert not third.truncated


def test_neighbouring_text_is_one_output() -> None:
    cell = Cell("", 1)
    for output in (
        Text("stdout", "a"),
        Text("stdout", "b"),
        Text("stderr", "c"),
        Raised("E", "", ""),
        Text("stdout", "d"),
    ):
        cell.add(output)
    cell.end(CellState.ERROR)
    cell.end(CellState.OK)
    assert cell.result.outputs == (
        Text("stdout", "ab"),
        Text("stderr", "c"),
        Raised("E", "", ""),
        Text("stdout", "d"),
    )
    assert cell.state is CellState.ERROR
