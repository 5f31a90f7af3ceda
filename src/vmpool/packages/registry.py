"""The server's registry: what package managers in VMs ask, answered from the depot.

A VM names projects, versions and files, never a URL: where a file is fetched from, and what it must hash to,
is what the upstream's own index says.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urljoin

import anyio
import anyio.to_thread

from vmpool.packages import pypi
from vmpool.packages.depot import CHUNK, Depot, NotFetched
from vmpool.packages.stream import RegistryStream

logger = logging.getLogger(__name__)

_REQUEST = re.compile(rb"(GET|HEAD) (/[\x21-\x7e]*) HTTP/1\.[01]")
_KEPT_LISTINGS: Final = 256
TEXT = "text/plain; charset=utf-8"


class Refused(Exception):
    """status: HTTP's.  The message is a sentence for people."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """body: text, or a file to be sent as it is."""

    body: bytes | Path
    content_type: str = "application/octet-stream"
    status: int = 200


class Registry:
    """upstreams: of each ecosystem (`pypi`) the URL of its registry, with a slash at its end."""

    def __init__(self, depot: Depot, upstreams: Mapping[str, str]) -> None:
        self._depot = depot
        self._upstreams = upstreams
        self._listings: OrderedDict[str, tuple[float, dict[str, pypi.File]]] = OrderedDict()
        self._routes: dict[str, Callable[[list[str]], Awaitable[Answer]]] = {"pypi": self._pypi}

    def connect(self) -> RegistryStream:
        """A connection to it, for one request."""
        return RegistryStream(self._answer)

    async def _answer(self, head: bytes) -> AsyncGenerator[bytes, None]:
        try:
            method, parts = _asked(head)
            answer = await self._answered(parts)
        except Refused as problem:
            method, answer = b"GET", Answer(f"vmpool: {problem}\n".encode(), TEXT, problem.status)
        except (NotFetched, pypi.BadIndex) as problem:
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

    async def _answered(self, parts: list[str]) -> Answer:
        route = self._routes.get(parts[0])
        if route is None:
            offered = ", ".join(self._routes)
            raise Refused(404, f"there is no registry '{parts[0][:40]}' here; there is {offered}.")
        return await route(parts[1:])

    # -- Python

    async def _pypi(self, parts: list[str]) -> Answer:
        match parts:
            case ["simple", name, ""]:
                project = pypi.normalized(name)
                page = pypi.rendered(project, await self._files(project), "/pypi/files/")
                return Answer(page, "text/html; charset=utf-8")
            case ["files", project, name]:
                return await self._file(project, name)
        raise Refused(404, "a page of a project is at /pypi/simple/NAME/.")

    async def _file(self, project: str, name: str) -> Answer:
        files = await self._files(project)
        if name in files:
            return Answer(await self._depot.file(files[name].url, files[name].digest))
        file = files.get(name.removesuffix(".metadata"))
        if file is None or file.metadata is None:
            raise Refused(404, f"'{project}' has no file of this name.")
        return Answer(await self._depot.file(file.url + ".metadata", file.metadata))

    async def _files(self, project: str) -> dict[str, pypi.File]:
        if not pypi.NAME.fullmatch(project):
            raise Refused(404, "this is no name of a project.")
        url = urljoin(self._upstreams["pypi"], f"{quote(project)}/")
        page = await self._depot.document(url, {"accept": pypi.ACCEPT})
        kept = self._listings.get(project)
        if kept is None or kept[0] != page.fetched:
            kept = page.fetched, await anyio.to_thread.run_sync(pypi.listing, page)
            self._listings[project] = kept
        self._listings.move_to_end(project)
        while len(self._listings) > _KEPT_LISTINGS:
            self._listings.popitem(last=False)
        return kept[1]


def _asked(head: bytes) -> tuple[bytes, list[str]]:
    """The method, and the path's parts."""
    line = head.split(b"\r\n", 1)[0]
    found = _REQUEST.fullmatch(line)
    if found is None:
        raise Refused(405, "a registry here is only read, by GET and HEAD.")
    path = found[2].partition(b"?")[0].decode("ascii")
    return found[1], [unquote(part) for part in path[1:].split("/")]


def _head(answer: Answer, length: int) -> bytes:
    phrase = HTTPStatus(answer.status).phrase
    return (
        f"HTTP/1.1 {answer.status} {phrase}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    ).encode()
