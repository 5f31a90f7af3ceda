"""The server's registry: what package managers in VMs ask, answered from the depot.

A VM names projects, versions and files, never a URL: where a file is fetched from, and what it must hash to,
is what the upstream's own index says.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urljoin

import anyio
import anyio.to_thread

from vmpool.domain.packages import PACKAGES_HOST
from vmpool.packages import cargo, gem, npm, pypi
from vmpool.packages.depot import CHUNK, Depot, Document, NotFetched
from vmpool.packages.listing import BadIndex, Listing
from vmpool.packages.stream import RegistryStream
from vmpool.packages.upstreams import Upstreams
from vmpool.packages.wheels import Interpreter

logger = logging.getLogger(__name__)

_REQUEST = re.compile(rb"(GET|HEAD) (/[\x21-\x7e]*) HTTP/1\.[01]")
_KEPT: Final = 32 << 20
"""Bytes of pages kept in memory as VMs read them."""
AGENT: Final = b"user-agent"
PAGES_AT_ONCE: Final = 8
"""Index pages in memory to be read, whoever asks for them."""
TEXT = "text/plain; charset=utf-8"
MAX_NAME: Final = 214
"""Characters of a project's name; npm's own bound."""


class Refused(Exception):
    """status: HTTP's.  The message is a sentence for people."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Asked:
    """parts: of the path, unescaped.  user_agent: what asks, by its own words."""

    parts: list[str]
    user_agent: str


@dataclass(frozen=True, slots=True)
class Answer:
    """body: text, or a file to be sent as it is."""

    body: bytes | Path
    content_type: str = "application/octet-stream"
    status: int = 200


Route = Callable[[Asked], Awaitable[Answer]]
"""From what is asked of one ecosystem to an answer."""
Read = Callable[[Document], Listing]
"""From an index page to what it says; it may take a while."""


class Registry:
    """upstreams: where the packages of each registry (`pypi`, `npm`, `cargo`, `gem`) come from."""

    def __init__(self, depot: Depot, upstreams: Upstreams) -> None:
        self._depot = depot
        self._upstreams = upstreams
        self._listings: OrderedDict[tuple[str, str], tuple[float, Listing]] = OrderedDict()
        self._listed_bytes = 0
        self._locks: dict[tuple[str, str], anyio.Lock] = {}
        self._reading = anyio.Semaphore(PAGES_AT_ONCE)
        routes: dict[str, Route] = {
            "pypi": self._pypi,
            "npm": self._npm,
            "cargo": self._cargo,
            "gem": self._gem,
        }
        self._routes = {name: route for name, route in routes.items() if name in upstreams}

    def connect(self) -> RegistryStream:
        """A connection to it, for one request."""
        return RegistryStream(self._answer)

    async def _answer(self, head: bytes) -> AsyncGenerator[bytes, None]:
        try:
            method, asked = _asked(head)
            answer = await self._answered(asked)
        except Refused as problem:
            method, answer = b"GET", Answer(f"vmpool: {problem}\n".encode(), TEXT, problem.status)
        except (NotFetched, BadIndex) as problem:
            status = problem.status if isinstance(problem, NotFetched) else 502
            method, answer = b"GET", Answer(f"vmpool: {problem}.\n".encode(), TEXT, status)
        if isinstance(answer.body, bytes):
            yield _head(answer, len(answer.body)) + (answer.body if method == b"GET" else b"")
            return
        with await anyio.to_thread.run_sync(answer.body.open, "rb") as file:
            size = await anyio.to_thread.run_sync(lambda: file.seek(0, 2))
            yield _head(answer, size)
            file.seek(0)
            while method == b"GET" and (data := await anyio.to_thread.run_sync(file.read, CHUNK)):
                yield data

    async def _answered(self, asked: Asked) -> Answer:
        name = asked.parts[0]
        route = self._routes.get(name)
        if route is None:
            offered = ", ".join(self._routes)
            raise Refused(404, f"there is no registry '{name[:40]}' here; there is {offered}.")
        return await route(replace(asked, parts=asked.parts[1:]))

    async def _upstream(self, name: str) -> str:
        url = await self._upstreams.url(name)
        if url is None:
            raise Refused(502, f"no registry is known: whoever runs the server must set packages.{name}.")
        return url

    # -- Python

    async def _pypi(self, asked: Asked) -> Answer:
        match asked.parts:
            case ["simple", name, ""]:
                reader = Interpreter.of(asked.user_agent)
                listing = await self._python(pypi.normalized(name), reader)
                return Answer(listing.page, "text/html; charset=utf-8")
            case ["files", project, file]:
                return await self._file(await self._python(project, None), file)
        raise Refused(404, "a page of a project is at /pypi/simple/NAME/.")

    async def _python(self, project: str, reader: Interpreter | None) -> Listing:
        _named(pypi.NAME, project)
        url = urljoin(await self._upstream("pypi"), f"{quote(project)}/")
        document = partial(self._depot.document, url, {"accept": pypi.ACCEPT})
        read = partial(pypi.listing, project, prefix=f"/pypi/files/{project}/", reader=reader)
        ecosystem = "pypi" if reader is None else f"pypi for {reader}"
        return await self._listing(ecosystem, project, document, read)

    # -- JavaScript

    async def _npm(self, asked: Asked) -> Answer:
        name, _, file = "/".join(asked.parts).partition("/-/")
        _named(npm.NAME, name)
        url = urljoin(await self._upstream("npm"), quote(name, safe="@"))
        document = partial(self._depot.document, url, {"accept": npm.ACCEPT})
        read = partial(npm.listing, name, prefix=f"http://{PACKAGES_HOST}/npm/{name}/-/")
        listing = await self._listing("npm", name, document, read)
        return await self._file(listing, file) if file else Answer(listing.page, npm.CONTENT_TYPE)

    # -- Rust

    async def _cargo(self, asked: Asked) -> Answer:
        match asked.parts:
            case ["config.json"]:
                return Answer(cargo.config(f"http://{PACKAGES_HOST}/cargo/crates"), "application/json")
            case ["crates", name, version, "download"]:
                return await self._file(await self._crate(name.lower()), version)
            case [*directory, name] if name and "/".join(directory) == cargo.prefix(name):
                return Answer((await self._crate(name)).page, TEXT)
        raise Refused(404, "this is no page of an index of crates.")

    async def _crate(self, name: str) -> Listing:
        _named(cargo.NAME, name)
        base = await self._upstream("cargo")
        template = cargo.downloads(await self._depot.document(urljoin(base, "config.json"), {}))
        document = partial(self._depot.document, urljoin(base, f"{cargo.prefix(name)}/{name}"), {})
        return await self._listing("cargo", name, document, partial(cargo.listing, name, template=template))

    # -- Ruby

    async def _gem(self, asked: Asked) -> Answer:
        match asked.parts:
            case ["versions"] | [""]:  # older ones look there
                return Answer(gem.VERSIONS, TEXT)
            case ["info", name]:
                return Answer((await self._info(name)).page, TEXT)
            case ["gems", file] if file.endswith(".gem"):
                full_name = file.removesuffix(".gem")
                return await self._file(await self._naming(full_name), full_name)
            case ["quick", "Marshal.4.8", file] if file.endswith(".gemspec.rz"):
                await self._naming(file.removesuffix(".gemspec.rz"))
                url = urljoin(await self._upstream("gem"), f"quick/Marshal.4.8/{quote(file)}")
                return Answer((await self._depot.document(url, {"accept-encoding": "identity"})).body)
        raise Refused(404, "this is no page of an index of gems.")

    async def _naming(self, full_name: str) -> Listing:
        """The listing that has this file: a name and a version cannot be told apart by themselves."""
        _named(gem.FULL_NAME, full_name)
        for name in gem.names_in(full_name):
            try:
                listing = await self._info(name)
            except NotFetched as problem:
                if problem.status != 404:
                    raise
            else:
                if full_name in listing.files:
                    return listing
        raise Refused(404, "the index names no file like this.")

    async def _info(self, name: str) -> Listing:
        _named(gem.NAME, name)
        upstream = await self._upstream("gem")
        document = partial(self._depot.document, urljoin(upstream, f"info/{name}"), {})
        return await self._listing("gem", name, document, partial(gem.listing, name, upstream=upstream))

    # -- all of them

    async def _file(self, listing: Listing, name: str) -> Answer:
        source = listing.files.get(name)
        if source is None:
            raise Refused(404, "the index names no file like this.")
        return Answer(await self._depot.file(source.url, source.digest))

    async def _listing(
        self, ecosystem: str, project: str, document: Callable[[], Awaitable[Document]], read: Read
    ) -> Listing:
        """What the page says: asked for and read once for all who want it, a few pages at a time.

        Pages may be large, and a VM may ask for as many at once as it has connections.
        """
        key = ecosystem, project
        lock = self._locks.setdefault(key, anyio.Lock())
        try:
            async with lock:
                kept = self._listings.get(key)
                if kept is not None and self._depot.is_fresh(kept[0]):
                    self._listings.move_to_end(key)
                    return kept[1]
                async with self._reading:
                    page = await document()
                    if kept is not None and kept[0] == page.fetched:
                        return kept[1]
                    listing = await anyio.to_thread.run_sync(read, page)
                self._keep(key, page.fetched, listing)
                return listing
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._locks.pop(key, None)

    def _keep(self, key: tuple[str, str], fetched: float, listing: Listing) -> None:
        replaced = self._listings.pop(key, None)
        self._listings[key] = fetched, listing
        self._listed_bytes += len(listing.page) - (len(replaced[1].page) if replaced else 0)
        while self._listed_bytes > _KEPT and self._listings:
            _, (_, oldest) = self._listings.popitem(last=False)
            self._listed_bytes -= len(oldest.page)


def _named(allowed: re.Pattern[str], name: str) -> None:
    if len(name) > MAX_NAME or not allowed.fullmatch(name):
        raise Refused(404, "this is no name of a project.")


def _asked(head: bytes) -> tuple[bytes, Asked]:
    """The method, and what it is for."""
    line, *headers = head.split(b"\r\n")
    found = _REQUEST.fullmatch(line)
    if found is None:
        raise Refused(405, "a registry here is only read, by GET and HEAD.")
    path = found[2].partition(b"?")[0].decode("ascii")
    agents = (
        value for name, _, value in (header.partition(b":") for header in headers) if name.lower() == AGENT
    )
    agent = next(agents, b"").strip().decode("latin-1")
    return found[1], Asked([unquote(part) for part in path[1:].split("/")], agent)


def _head(answer: Answer, length: int) -> bytes:
    phrase = HTTPStatus(answer.status).phrase
    return (
        f"HTTP/1.1 {answer.status} {phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()
