"""From what the agent tells of changes to what people call them."""

from __future__ import annotations

import pytest

from vmpool.agent.codec import ProtocolError
from vmpool.agent.watching import Change, ChangeKind, Mask, Record, changes_of, packed_record, record_of

CREATED, CHANGED, REMOVED, MOVED = (
    ChangeKind.CREATED,
    ChangeKind.CHANGED,
    ChangeKind.REMOVED,
    ChangeKind.MOVED,
)


def record(mask: Mask, path: bytes, cookie: int = 0) -> Record:
    return Record(mask, cookie, path)


@pytest.mark.parametrize(
    ("records", "changes"),
    [
        pytest.param([record(Mask.CREATE | Mask.ISDIR, b"d")], [Change(CREATED, b"d", True)], id="directory"),
        pytest.param(
            [
                record(Mask.CREATE, b"a"),
                record(Mask.MODIFY, b"a"),
                record(Mask.MODIFY, b"a"),
                record(Mask.CLOSE_WRITE, b"a"),
            ],
            [Change(CREATED, b"a"), Change(CHANGED, b"a")],
            id="one write is one change",
        ),
        pytest.param(
            [record(Mask.MODIFY, b"a"), record(Mask.DELETE, b"a"), record(Mask.CREATE, b"a")],
            [Change(CHANGED, b"a"), Change(REMOVED, b"a"), Change(CREATED, b"a")],
            id="what comes again is told again",
        ),
        pytest.param(
            [record(Mask.MOVED_FROM, b"a", 7), record(Mask.CREATE, b"x"), record(Mask.MOVED_TO, b"b", 7)],
            [Change(CREATED, b"x"), Change(MOVED, b"b", False, b"a")],
            id="move",
        ),
        pytest.param(
            [
                record(Mask.CREATE, b"a~"),
                record(Mask.CLOSE_WRITE, b"a~"),
                record(Mask.MOVED_FROM, b"a~", 3),
                record(Mask.MOVED_TO, b"a", 3),
                record(Mask.CLOSE_WRITE, b"a"),
            ],
            [
                Change(CREATED, b"a~"),
                Change(CHANGED, b"a~"),
                Change(MOVED, b"a", False, b"a~"),
                Change(CHANGED, b"a"),
            ],
            id="as editors save",
        ),
        pytest.param(
            [record(Mask.MOVED_FROM, b"a", 1), record(Mask.MOVED_TO, b"b", 2)],
            [Change(REMOVED, b"a"), Change(CREATED, b"b")],
            id="from and to where nobody watches",
        ),
        pytest.param(
            [
                record(Mask.MOVED_FROM, b"a", 1),
                record(Mask.MOVED_FROM, b"a", 2),
                record(Mask.MOVED_TO, b"b", 2),
            ],
            [Change(REMOVED, b"a"), Change(CREATED, b"b")],
            id="a guest that makes no sense",
        ),
        pytest.param([record(Mask(0x8000_0000), b"a")], [], id="unknown"),
    ],
)
def test_changes(records: list[Record], changes: list[Change]) -> None:
    assert changes_of(records) == changes


@pytest.mark.parametrize("path", [b"/etc", b"../x", b"a/../../x", b"a\0b"])
def test_a_path_that_leads_out_is_none(path: bytes) -> None:
    with pytest.raises(ProtocolError):
        record_of(packed_record(Mask.CREATE, 0, path))


def test_a_record_that_is_cut_is_none() -> None:
    with pytest.raises(ProtocolError):
        record_of(b"\0" * 7)
    assert record_of(packed_record(Mask.DELETE_SELF, 9, b"")) == Record(Mask.DELETE_SELF, 9, b"")
