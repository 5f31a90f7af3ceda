"""A stream of an execution over HTTP: whole, in ranges, byte by byte."""

from __future__ import annotations

import pytest

from vmpool.api.ranges import part
from vmpool.errors import RangeNotSatisfiable

from .caller import Caller, problem

pytestmark = pytest.mark.anyio

SIZE = 3_000_000
FLOOD = (
    f"import sys\nsys.stdout.buffer.write(b'0123456789' * {SIZE // 10})\nsys.stderr.buffer.write(b'\\xff')\n"
)


async def test_the_whole_and_its_parts(owner: Caller, other: Caller) -> None:
    await owner.create()
    done = await owner.execute("box", FLOOD)
    assert done["truncated"] and len(done["output"]) < SIZE
    assert (done["output_bytes"], done["error_bytes"], done["dropped"]) == (SIZE, 1, 0)
    path = f"/api/vms/box/executions/{done['id']}/output"
    whole = await owner.call("GET", path)
    assert whole.status_code == 200 and whole.content == b"0123456789" * (SIZE // 10)
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["x-execution-state"] == "ended"
    assert (await owner.call("GET", f"{path}?stream=stderr")).content == b"\xff"
    assert (await owner.call("GET", f"{path}?offset={SIZE - 3}")).content == b"789"
    assert (await owner.call("GET", f"{path}?offset={SIZE}")).content == b""
    middle = await owner.call("GET", path, headers={"Range": "bytes=1000005-1000007"})
    assert (middle.status_code, middle.content) == (206, b"567")
    assert middle.headers["content-range"] == f"bytes 1000005-1000007/{SIZE}"
    last = await owner.call("GET", path, headers={"Range": "bytes=-2"})
    assert (last.status_code, last.content) == (206, b"89")
    past = await owner.call("GET", path, headers={"Range": f"bytes={SIZE}-"})
    problem(past, 416, "range_not_satisfiable")
    assert past.headers["content-range"] == f"bytes */{SIZE}"
    await owner.refused("GET", f"{path}?offset={SIZE + 1}", status=416, code="range_not_satisfiable")
    await owner.refused("GET", f"{path}?stream=stdin", status=422, code="invalid_request")
    await owner.refused("GET", "/api/vms/box/executions/999/output", status=404, code="execution_not_found")
    await other.refused("GET", path, status=404, code="vm_not_found")
    await owner.ok("DELETE", "/api/vms/box", status=204)
    assert (await owner.call("GET", path.replace("box", str(done["vm_id"])))).content == whole.content


async def test_a_small_text_is_served_the_same_way(owner: Caller) -> None:
    await owner.create()
    done = await owner.execute("box", "print('h\u00fc')")
    answer = await owner.call("GET", f"/api/vms/box/executions/{done['id']}/output")
    assert answer.content == "h\u00fc\n".encode() and done["output_bytes"] == 4
    assert not done["truncated"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, None),
        ("bytes=0-", (0, 10)),
        ("bytes=2-4", (2, 5)),
        ("bytes=9-9", (9, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes = 1 - 2", (1, 3)),
        ("bytes=4-2", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("lines=1-2", None),
        ("nonsense", None),
    ],
)
def test_ranges(asked: str | None, found: tuple[int, int] | None) -> None:
    assert part(asked, 10) == found


@pytest.mark.parametrize(("asked", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)])
def test_ranges_past_the_end(asked: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        part(asked, size)
