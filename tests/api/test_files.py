"""The routes of files on the fake backend: paths of any bytes, ranges, conditions, pages, archives."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest

from vmpool import tar
from vmpool.tar import Entry, Kind, Reader

from .caller import Caller, problem
from .conftest import MAX_BODY

pytestmark = pytest.mark.anyio
DATA = os.urandom(3 * MAX_BODY + 5)
FILES = "/api/vms/box/files"


@pytest.fixture
async def box(owner: Caller) -> Caller:
    await owner.create()
    return owner


async def put(caller: Caller, path: str, data: bytes, query: str = "", **headers: str) -> httpx.Response:
    return await caller.client.put(
        f"{FILES}?path={path}{query}",
        content=data,
        headers={k.replace("_", "-"): v for k, v in headers.items()},
    )


async def get(caller: Caller, path: str, **headers: str) -> httpx.Response:
    return await caller.call(
        "GET", f"{FILES}?path={path}", headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


async def test_content_larger_than_other_bodies_may_be(box: Caller) -> None:
    made = await put(box, "d/big", DATA, "&parents=true&mode=0640&mtime_ns=7")
    assert made.status_code == 200, made.text
    known = made.json()
    assert (known["name"], known["kind"], known["size"], known["mode"], known["mtime_ns"]) == (
        "big",
        "file",
        len(DATA),
        "0640",
        7,
    )
    answer = await get(box, "/home/user/d/big")
    assert answer.content == DATA
    assert answer.headers["etag"] == f'"{known["version"]}"'
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_ranges(box: Caller) -> None:
    version = (await put(box, "f", DATA)).json()["version"]
    part = await get(box, "f", Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, DATA[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(DATA)}"
    same = await get(box, "f", Range="bytes=5-", If_Range=f'"{version}"')
    assert (same.status_code, same.content) == (206, DATA[5:])
    other = await get(box, "f", Range="bytes=5-", If_Range='"other"')
    assert (other.status_code, other.content) == (200, DATA)
    problem(await get(box, "f", Range=f"bytes={len(DATA)}-"), 416, "range_not_satisfiable")


async def test_an_upload_goes_on_where_it_broke_off(box: Caller) -> None:
    await put(box, "f", DATA[:1000])
    wrong = problem(await put(box, "f", DATA[999:], "&offset=999"), 412, "file_changed")
    assert wrong.context["size"] == 1000
    assert (await put(box, "f", DATA[1000:], "&offset=1000")).status_code == 200
    assert (await get(box, "f")).content == DATA
    problem(await put(box, "none", b"x", "&offset=1"), 412, "file_changed")
    problem(await get(box, "none"), 404, "path_not_found")


async def test_conditions(box: Caller) -> None:
    version = (await put(box, "f", b"one", If_None_Match="*")).json()["version"]
    problem(await put(box, "f", b"two", If_None_Match="*"), 412, "file_changed")
    problem(await put(box, "f", b"two", If_Match='"other"'), 412, "file_changed")
    problem(await put(box, "none", b"two", If_Match="*"), 412, "file_changed")
    assert (await put(box, "f", b"two", If_Match=f'"{version}"')).status_code == 200
    assert (await get(box, "f")).content == b"two"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a b+c%41&d=e", "ü".encode(), b"new\nline", b"#?;"])
async def test_names_of_any_bytes(box: Caller, name: bytes) -> None:
    made = (await put(box, quote_from_bytes(name, safe=""), name)).json()
    assert made["encoded_name"] == quote_from_bytes(name)
    assert (await get(box, quote_from_bytes(name, safe=""))).content == name
    listed = await box.ok("GET", f"{FILES}/list")
    assert [one["encoded_name"] for one in listed] == [quote_from_bytes(name)]
    assert (await get(box, listed[0]["encoded_name"])).content == name
    assert (await box.ok("GET", f"{FILES}/stat?path={listed[0]['encoded_name']}"))["size"] == len(name)


@pytest.mark.parametrize("query", ["", "?path=", "?path=a%00b", f"?path={'x' * 5000}"])
async def test_what_is_no_path(box: Caller, query: str) -> None:
    for method, path in (("GET", FILES), ("PUT", FILES), ("DELETE", FILES), ("GET", f"{FILES}/stat")):
        await box.refused(method, path + query, status=422, code="invalid_request")


async def test_directories(box: Caller) -> None:
    made = await box.ok("POST", f"{FILES}/directory?path=a/b&parents=true", status=201)
    assert (made["kind"], made["name"]) == ("directory", "b")
    found = await box.refused("POST", f"{FILES}/directory?path=a", status=409, code="file_refused")
    assert found.context["reason"] == "exists"
    await box.ok("POST", f"{FILES}/directory?path=a&existing=true", status=201)
    await put(box, "a/b/f", b"x")
    found = await box.refused("GET", f"{FILES}?path=a", status=409, code="file_refused")
    assert found.context["reason"] == "not_a_file"
    await box.refused("GET", f"{FILES}/list?path=a/b/f", status=409, code="file_refused")
    await box.refused("DELETE", f"{FILES}?path=a", status=409, code="file_refused")
    await box.ok("DELETE", f"{FILES}?path=a&recursive=true", status=204)
    await box.refused("GET", f"{FILES}/list?path=a", status=404, code="path_not_found")
    assert await box.ok("GET", f"{FILES}/list") == []


async def test_pages(box: Caller) -> None:
    for number in range(7):
        await put(box, f"d/{number}", b"", "&parents=true")
    found: list[Any] = []
    page: str | None = f"{FILES}/list?path=d&limit=3"
    while page is not None:
        answer = await box.call("GET", page)
        found += answer.json()
        assert len(answer.json()) <= 3
        page = answer.links.get("next", {}).get("url")
    assert sorted(one["name"] for one in found) == [str(number) for number in range(7)]


async def test_move_and_change(box: Caller) -> None:
    await put(box, "a", b"a")
    await put(box, "b", b"b")
    await box.refused("POST", f"{FILES}/move?path=a&to=b", status=409, code="file_refused")
    moved = await box.ok("POST", f"{FILES}/move?path=a&to=b&replace=true")
    assert moved["name"] == "b"
    changed = await box.ok("PATCH", f"{FILES}?path=b&mode=0600&mtime_ns=9")
    assert (changed["mode"], changed["mtime_ns"]) == ("0600", 9)
    await box.refused("PATCH", f"{FILES}?path=b&mode=999", status=422, code="invalid_request")


async def test_a_body_that_cannot_be_in_the_vm(box: Caller) -> None:
    await box.create("small", disk_limit=8)
    path = "/api/vms/small/files?path=f"

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"

    answer = await box.client.put(path, content=pieces(), headers={"Content-Length": str(100 << 20)})
    problem(answer, 413, "request_too_large")


async def test_a_vm_that_does_not_run(box: Caller) -> None:
    await box.ok("POST", "/api/vms/box/stop")
    for method, path in (
        ("GET", f"{FILES}?path=f"),
        ("PUT", f"{FILES}?path=f"),
        ("GET", "/api/vms/box/tree"),
    ):
        await box.refused(method, path, status=409, code="vm_not_running")


def archive(*entries: Entry) -> bytes:
    return (
        b"".join(
            tar.header(Entry(entry.name, entry.kind, 3, target=entry.target)) + b"abc" + tar.padding(3)
            if entry.kind is Kind.FILE
            else tar.header(entry)
            for entry in entries
        )
        + tar.END
    )


def contents(data: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    name = b""
    reader = Reader()
    for event in reader.feed(data):
        if isinstance(event, Entry):
            name = event.name.rstrip(b"/")
            found[name] = b""
        elif event is not None:
            found[name] += event
    reader.close()
    assert reader.ended
    return found


async def test_a_tree_there_and_back(box: Caller) -> None:
    big = tar.header(Entry(b"d/big", Kind.FILE, len(DATA) * 2)) + DATA * 2 + tar.padding(len(DATA) * 2)
    many = [Entry(b"many/%d" % number, Kind.FILE) for number in range(300)]
    sent = big + archive(Entry(b"./d/e/", Kind.DIRECTORY), Entry(b"\xff", Kind.FILE), *many)
    answer = await box.client.put("/api/vms/box/tree?path=t", content=sent)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"entries": 303, "bytes": len(DATA) * 2 + 903, "refused": [], "more_refused": 0}
    found = contents((await box.call("GET", "/api/vms/box/tree?path=t")).content)
    assert found[b"d/big"] == DATA * 2
    assert found[b"\xff"] == b"abc"
    assert found.keys() == {b".", b"d", b"d/e", b"d/big", b"\xff", b"many", *(one.name for one in many)}


async def test_hostile_entries_are_left_out_one_by_one(box: Caller) -> None:
    hostile = [
        Entry(b"/etc/passwd", Kind.FILE),
        Entry(b"../../etc/x", Kind.FILE),
        Entry(b"link", Kind.LINK, target=b"/etc"),
        Entry(b"n", Kind.SECOND_NAME, target=b"../../etc/passwd"),
    ]
    sent = archive(Entry(b"a", Kind.FILE), *hostile, Entry(b"z", Kind.FILE))
    answer = (await box.client.put("/api/vms/box/tree?path=t", content=sent)).json()
    assert answer["entries"] == 2
    assert [one["encoded_name"] for one in answer["refused"]] == [
        quote_from_bytes(one.name) for one in hostile
    ]
    assert {one["name"] for one in await box.ok("GET", f"{FILES}/list?path=t")} == {"a", "z"}


async def test_paths_too_long_to_be_named_are_left_out(box: Caller) -> None:
    long = "x" * 4090  # the fake machine's names have no bound of their own
    await put(box, long, b"x")
    await put(box, "short", b"x")
    found = contents((await box.call("GET", "/api/vms/box/tree?path=../user")).content)
    assert found.keys() == {b".", b"short"}
    top = "d/" * 2000
    sent = archive(Entry(b"e/" * 50 + b"f", Kind.FILE), Entry(b"g", Kind.FILE))
    answer = (await box.client.put(f"/api/vms/box/tree?path={top}", content=sent)).json()
    assert "entries" in answer, answer
    assert (answer["entries"], len(answer["refused"])) == (1, 1)


@pytest.mark.parametrize("body", [b"no archive" * 100, archive(Entry(b"a", Kind.FILE))[:600]])
async def test_what_is_no_archive(box: Caller, body: bytes) -> None:
    answer = await box.client.put("/api/vms/box/tree", content=body)
    problem(answer, 422, "invalid_request")


async def test_more_than_the_disk_holds(box: Caller) -> None:
    await box.create("small", disk_limit=8)
    size = 9 << 20
    sent = tar.header(Entry(b"f", Kind.FILE, size)) + bytes(size) + tar.END
    problem(await box.client.put("/api/vms/small/tree", content=sent), 507, "disk_full")


async def test_a_tree_of_what_is_no_directory(box: Caller) -> None:
    await put(box, "f", b"x")
    await box.refused("GET", "/api/vms/box/tree?path=f", status=409, code="file_refused")
    await box.refused("GET", "/api/vms/box/tree?path=none", status=404, code="path_not_found")
