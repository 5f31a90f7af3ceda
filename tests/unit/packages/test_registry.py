"""The server's registry over a real upstream on loopback, asked as a VM's package manager asks."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from tests.package_index import Index, package_index
from vmpool.packages.cache import Cache
from vmpool.packages.depot import Bounds, Depot
from vmpool.packages.registry import Registry
from vmpool.packages.upstreams import Upstreams

pytestmark = pytest.mark.anyio


@pytest.fixture
def index() -> Iterator[Index]:
    with package_index() as found:
        found.add_wheel("greeting", "1.0")
        yield found


PATHS = {"pypi": "simple", "npm": "npm", "cargo": "cargo", "gem": "gems"}


class Here:
    """A registry, and what a request of it is answered."""

    def __init__(self, depot: Depot, index: Index) -> None:
        self.depot = depot
        upstreams = {name: f"{index.url}/{path}/" for name, path in PATHS.items()}
        self.registry = Registry(depot, Upstreams(upstreams))

    async def ask(self, target: str, method: str = "GET", agent: str = "") -> tuple[int, bytes]:
        stream = self.registry.connect()
        await stream.send(f"{method} {target} HTTP/1.1\r\nHost: there\r\nUser-Agent: {agent}\r\n".encode())
        await stream.send(b"\r\n")
        await stream.send_eof()
        answer = b""
        try:
            while True:
                answer += await stream.receive()
        except anyio.EndOfStream:
            pass
        await stream.aclose()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None and (method == "HEAD" or len(body) == int(length[1]))
        return int(head.split()[1]), body

    async def page(self, project: str = "greeting") -> str:
        status, body = await self.ask(f"/pypi/simple/{project}/")
        assert status == 200, body
        return body.decode()


@pytest.fixture
async def here(tmp_path: Path, index: Index, anyio_backend: str) -> AsyncIterator[Here]:
    async with anyio.create_task_group() as tasks:
        depot = Depot(Cache(tmp_path, 1 << 20), tasks, Bounds(timeout=10, max_file=10_000))
        yield Here(depot, index)
        await depot.aclose()


def contents(directory: Path) -> dict[bytes, Path]:
    """What the cache keeps."""
    return {path.read_bytes(): path for path in directory.iterdir()}


FILE = "greeting-1.0-py3-none-any.whl"


async def test_a_page_names_files_here_with_their_hashes(here: Here, index: Index) -> None:
    page = await here.page()
    assert f'href="/pypi/files/greeting/{FILE}#sha256=' in page
    assert index.url not in page


async def test_pip_is_not_sent_what_its_interpreter_cannot_install(here: Here, index: Index) -> None:
    files = [
        f"many-1.0-{tag}.whl" for tag in ("cp311-cp311-linux_x86_64", "cp311-cp311-win32", "py3-none-any")
    ]
    digest = "0" * 64
    links = "".join(f'<a href="/files/{file}#sha256={digest}">{file}</a>' for file in files)
    index.pages["/simple/many/"] = ("text/html", links.encode())
    about = {
        "cpu": "x86_64",
        "distro": {"libc": {"lib": "glibc"}},
        "implementation": {"name": "CPython"},
        "python": "3.11.2",
        "system": {"name": "Linux"},
    }
    _, page = await here.ask("/pypi/simple/many/", agent=f"pip/23.0.1 {json.dumps(about)}")
    assert re.findall(r">(many[^<]+)</a>", page.decode()) == [files[0], files[2]]
    assert re.findall(r">(many[^<]+)</a>", await here.page("many")) == files


async def test_a_name_is_normalized_as_pip_does(here: Here) -> None:
    assert FILE in await here.page("Greeting")


async def test_a_file_is_fetched_once_for_all_who_ask_at_the_same_time(here: Here, index: Index) -> None:
    answers: list[tuple[int, bytes]] = []

    async def one() -> None:
        answers.append(await here.ask(f"/pypi/files/greeting/{FILE}"))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(one)
    assert set(answers) == {(200, index.pages[f"/files/{FILE}"][1])}
    assert index.asked == ["/simple/greeting/", f"/files/{FILE}"]


async def test_who_stops_waiting_does_not_end_the_download_of_others(here: Here, index: Index) -> None:
    with anyio.move_on_after(0):
        await here.ask(f"/pypi/files/greeting/{FILE}")
    status, _ = await here.ask(f"/pypi/files/greeting/{FILE}")
    assert status == 200
    assert index.asked.count(f"/files/{FILE}") == 1


async def test_a_head_has_no_body(here: Here) -> None:
    assert await here.ask(f"/pypi/files/greeting/{FILE}", "HEAD") == (200, b"")


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/nuget/x",
        "/pypi/simple/",
        "/pypi/simple/absent/",
        "/pypi/simple/..%2f..%2fetc/",
        "/pypi/simple/a%00b/",
        "/pypi/files/greeting/absent.whl",
        "/pypi/files/greeting/..",
        "/pypi/files/http%3A%2F%2F127.0.0.1%2F/x",
    ],
)
async def test_what_is_not_there_is_404(here: Here, target: str) -> None:
    status, _ = await here.ask(target)
    assert status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "get"])
async def test_nothing_is_ever_written(here: Here, index: Index, method: str) -> None:
    status, body = await here.ask("/pypi/simple/greeting/", method)
    assert (status, b"only read" in body) == (405, True)
    assert index.asked == []


async def test_what_has_another_hash_is_neither_given_nor_kept(
    here: Here, index: Index, tmp_path: Path
) -> None:
    path = index.add_wheel("altered", "1.0", damaged=True)
    status, body = await here.ask(f"/pypi/{path[1:].replace('files/', 'files/altered/')}")
    assert (status, b"does not have the hash" in body) == (502, True)
    assert len(contents(tmp_path)) == 1, "the page alone"


async def test_what_is_too_large_is_not_fetched_to_its_end(here: Here, index: Index) -> None:
    path = index.add_wheel("large", "1.0")
    index.pages[path] = ("application/octet-stream", b"x" * 20_000)
    status, body = await here.ask(f"/pypi/{path[1:].replace('files/', 'files/large/')}")
    assert (status, b"longer than 10000 bytes" in body) == (403, True)


async def test_a_kept_file_that_was_damaged_is_fetched_again(index: Index, tmp_path: Path) -> None:
    content = index.pages[f"/files/{FILE}"][1]
    for damage in (False, True):
        async with anyio.create_task_group() as tasks:
            here = Here(Depot(Cache(tmp_path, 1 << 20), tasks, Bounds()), index)
            assert await here.ask(f"/pypi/files/greeting/{FILE}") == (200, content)
            await here.depot.aclose()
        if not damage:
            kept = contents(tmp_path)[content]
            kept.write_bytes(b"x" * len(content))
    assert index.asked.count(f"/files/{FILE}") == 2


async def test_a_page_is_used_while_upstream_fails_and_not_once_it_is_gone(
    index: Index, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as tasks:
        here = Here(Depot(Cache(tmp_path, 1 << 20), tasks, Bounds(fresh=0)), index)
        page = await here.page()
        held = index.pages.pop("/simple/greeting/")
        status, _ = await here.ask("/pypi/simple/greeting/")
        assert status == 404
        index.pages["/simple/greeting/"] = held
        unanswered = Registry(here.depot, Upstreams({"pypi": "http://127.0.0.1:9/simple/"}))
        here.registry, answering = unanswered, here.registry
        status, body = await here.ask("/pypi/simple/greeting/")
        assert (status, b"does not answer" in body) == (502, True)
        here.registry = answering
        assert await here.page() == page
        await here.depot.aclose()


async def test_the_json_of_an_index_says_the_same(here: Here, index: Index) -> None:
    files = [
        {
            "filename": "said-1.0.tar.gz",
            "url": "../../files/said-1.0.tar.gz",
            "hashes": {"sha256": "0" * 64},
            "requires-python": ">=3.8",
            "yanked": 'broken "badly"',
            "core-metadata": {"sha256": "1" * 64},
        },
        {"filename": "../up.tar.gz", "url": "x", "hashes": {"sha256": "0" * 64}},
        {"filename": "unhashed.tar.gz", "url": "x", "hashes": {}},
        {"filename": "elsewhere.tar.gz", "url": "file:///etc/passwd", "hashes": {"sha256": "0" * 64}},
    ]
    kind = "application/vnd.pypi.simple.v1+json"
    index.pages["/simple/said/"] = (kind, json.dumps({"files": files}).encode())
    page = await here.page("said")
    assert re.findall(r">([^<]+)</a>", page) == ["said-1.0.tar.gz"]
    assert 'data-requires-python="&gt;=3.8"' in page
    assert 'data-yanked="broken &quot;badly&quot;"' in page
    assert f'data-core-metadata="sha256={"1" * 64}"' in page


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"files": 3}', b'{"files": [{"filename": 1}]}'])
async def test_an_index_that_is_none_is_502(here: Here, index: Index, body: bytes) -> None:
    index.pages["/simple/greeting/"] = ("application/json", body)
    status, _ = await here.ask("/pypi/simple/greeting/")
    assert status == 502


async def test_a_document_of_npm_names_files_here(here: Here, index: Index) -> None:
    path = index.add_npm("@scope/pair", "1.0.0")
    for target in ("/npm/@scope%2fpair", "/npm/@scope/pair"):
        status, body = await here.ask(target)
        assert status == 200
        dist = json.loads(body)["versions"]["1.0.0"]["dist"]
        assert dist["tarball"] == "http://packages.pool.vm/npm/@scope/pair/-/pair-1.0.0.tgz"
    assert await here.ask("/npm/@scope/pair/-/pair-1.0.0.tgz") == (200, index.pages[path][1])
    assert index.asked == ["/npm/@scope%2Fpair", path]


@pytest.mark.parametrize("integrity", ["", "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "sha512-%%", "sha512"])
async def test_a_version_of_npm_whose_hash_is_not_said_is_left_out(
    here: Here, index: Index, integrity: str
) -> None:
    index.add_npm("pair", "1.0.0")
    kind, content = index.pages["/npm/pair"]
    document = json.loads(content)
    document["versions"]["2.0.0"] = {"dist": {"tarball": "http://x.example/", "integrity": integrity}}
    document["dist-tags"]["latest"] = "2.0.0"
    index.pages["/npm/pair"] = (kind, json.dumps(document).encode())
    _, body = await here.ask("/npm/pair")
    found = json.loads(body)
    assert (list(found["versions"]), found["dist-tags"]) == (["1.0.0"], {})
    status, _ = await here.ask("/npm/pair/-/pair-2.0.0.tgz")
    assert status == 404


@pytest.mark.parametrize("target", ["/npm/", "/npm/..%2fx", "/npm/a/b", "/npm/@a", "/npm/-/v1/search"])
async def test_what_is_no_package_of_npm_is_404_and_not_asked_for(
    here: Here, index: Index, target: str
) -> None:
    status, _ = await here.ask(target)
    assert (status, index.asked) == (404, [])


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"versions": {"1": {}}}', b'{"versions": []}'])
async def test_a_document_that_is_none_is_502(here: Here, index: Index, body: bytes) -> None:
    index.pages["/npm/pair"] = ("application/json", body)
    status, _ = await here.ask("/npm/pair")
    assert status == 502


async def test_a_crate_is_had_by_its_index(here: Here, index: Index) -> None:
    path = index.add_crate("program", "1.0.0")
    status, body = await here.ask("/cargo/config.json")
    assert json.loads(body)["dl"] == "http://packages.pool.vm/cargo/crates"
    assert await here.ask("/cargo/pr/og/program") == (200, index.pages["/cargo/pr/og/program"][1])
    assert await here.ask("/cargo/crates/program/1.0.0/download") == (200, index.pages[path][1])
    status, _ = await here.ask("/cargo/crates/program/1.0.1/download")
    assert status == 404


@pytest.mark.parametrize(
    "target",
    ["/cargo/", "/cargo/program", "/cargo/xx/og/program", "/cargo/../x", "/cargo/1/%2e", "/cargo/3/a/a.b"],
)
async def test_what_is_no_crate_is_404_and_not_asked_for(here: Here, index: Index, target: str) -> None:
    status, _ = await here.ask(target)
    assert (status, index.asked) == (404, [])


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"name": "other", "vers": "1.0.0", "cksum": "' + b"0" * 64 + b'"}',
        b'{"name": "program", "vers": "1.0.0", "cksum": "0"}',
    ],
)
async def test_an_index_of_crates_that_is_none_is_502(here: Here, index: Index, line: bytes) -> None:
    index.add_crate("program", "1.0.0")
    index.pages["/cargo/pr/og/program"] = ("text/plain", line)
    status, _ = await here.ask("/cargo/pr/og/program")
    assert status == 502


@pytest.mark.parametrize("config", [b"{", b"{}", b'{"dl": "file:///etc"}'])
async def test_crates_that_lie_nowhere_are_502(here: Here, index: Index, config: bytes) -> None:
    index.add_crate("program", "1.0.0")
    index.pages["/cargo/config.json"] = ("application/json", config)
    status, _ = await here.ask("/cargo/pr/og/program")
    assert status == 502


async def test_a_gem_is_had_by_its_index(here: Here, index: Index) -> None:
    path = index.add_gem("mini-8bit", "1.0.0", b"gem", b"specification")
    assert (await here.ask("/gem/versions", "HEAD"))[0] == 200
    assert await here.ask("/gem/info/mini-8bit") == (200, index.pages["/gems/info/mini-8bit"][1])
    assert await here.ask("/gem/gems/mini-8bit-1.0.0.gem") == (200, b"gem")
    specification = "/gem/quick/Marshal.4.8/mini-8bit-1.0.0.gemspec.rz"
    assert await here.ask(specification) == (200, b"specification")
    index.pages[path] = ("application/octet-stream", b"altered")
    for target in ("/gem/gems/mini-8bit-1.0.1.gem", "/gem/quick/Marshal.4.8/mini-8bit-2.gemspec.rz"):
        status, _ = await here.ask(target)
        assert status == 404


@pytest.mark.parametrize(
    "target", ["/gem/x", "/gem/info/..", "/gem/gems/x.tar", "/gem/gems/..%2f-1.gem", "/gem/specs.4.8.gz"]
)
async def test_what_is_no_gem_is_404_and_not_asked_for(here: Here, index: Index, target: str) -> None:
    status, _ = await here.ask(target)
    assert (status, index.asked) == (404, [])


@pytest.mark.parametrize("body", [b"\xff", b"---\n1.0 |checksum:0\n", b"---\n../x |checksum:" + b"0" * 64])
async def test_an_index_of_gems_that_is_none_is_502(here: Here, index: Index, body: bytes) -> None:
    index.pages["/gems/info/broken"] = ("text/plain", body)
    status, _ = await here.ask("/gem/info/broken")
    assert status == 502


async def test_a_page_that_many_ask_for_is_asked_for_once(here: Here, index: Index) -> None:
    pages: list[str] = []

    async def one() -> None:
        pages.append(await here.page())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(one)
    assert (len(set(pages)), index.asked) == (1, ["/simple/greeting/"])


async def test_what_the_disk_has_no_room_for_is_not_kept(
    here: Here, index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vmpool.packages.depot.MIN_FREE", 1 << 62)
    status, body = await here.ask(f"/pypi/files/greeting/{FILE}")
    assert (status, b"no room" in body) == (507, True)
    assert len(contents(tmp_path)) == 1, "the page alone"
