"""What registries hold, fetched once for everybody: documents for a while, files by their hash for good."""

from __future__ import annotations

import binascii
import hashlib
import json
import logging
import os
import ssl
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import anyio
import anyio.abc
import anyio.to_thread
import httpx

from vmpool.packages.cache import Cache

logger = logging.getLogger(__name__)

CHUNK: Final = 256 << 10
MAX_DOCUMENT: Final = 32 << 20
"""Bytes of one index page, unpacked."""
MIN_FREE: Final = 256 << 20
"""Bytes left free on the disk."""
AT_ONCE: Final = 8
"""Fetches from upstream at the same time."""
_ALGORITHMS: Final = ("sha512", "sha384", "sha256")


class NotFetched(Exception):
    """The upstream has not given it.  status: what a VM's package manager is told.  The message: a clause."""

    def __init__(self, why: str, status: int = 502) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Digest:
    """What a file's content must hash to.  value: hex digits."""

    algorithm: str
    value: str

    @classmethod
    def of_integrity(cls, text: str) -> Digest | None:
        """The strongest of a Subresource Integrity value (W3C SRI); None where it has none that counts."""
        found = dict(part.split("?")[0].split("-", 1) for part in text.split() if "-" in part)
        for algorithm in _ALGORITHMS:
            if algorithm in found:
                with suppress(binascii.Error, ValueError):
                    return cls(algorithm, b64decode(found[algorithm], validate=True).hex())
        return None


@dataclass(frozen=True, slots=True)
class Document:
    """An index page.  url: where it was found in the end, for what in it is relative.  fetched: Unix time."""

    body: bytes
    content_type: str
    url: str
    fetched: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """fresh: seconds for which a document is not asked for again.  max_file: bytes of one file.

    timeout: seconds without anything from upstream.
    """

    fresh: float = 600.0
    max_file: int = 2 << 30
    timeout: float = 30.0


class Depot:
    """tasks: where fetches run, so that one who stops waiting ends nobody else's.

    transport: instead of the network, for tests.
    """

    def __init__(
        self,
        cache: Cache,
        tasks: anyio.abc.TaskGroup,
        bounds: Bounds,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._cache = cache
        self._tasks = tasks
        self._bounds = bounds
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._flights: dict[str, _Flight] = {}
        self._places = anyio.Semaphore(AT_ONCE)
        self._sound: dict[str, tuple[int, int]] = {}
        self._ready = anyio.Lock()
        self.fetched = 0
        """Fetches from upstream so far."""

    async def aclose(self) -> None:
        """Close the connections to upstream."""
        if self._client is not None:
            await self._client.aclose()

    async def document(self, url: str, headers: Mapping[str, str]) -> Document:
        """An index page as it was within the last `fresh` seconds; an older one where upstream fails.

        NotFetched.
        """
        name = _name("document", url, headers.get("accept", ""))
        old = await self._read_document(name)
        if old is not None and self.is_fresh(old.fetched):
            return old
        try:
            path = await self._once(name, lambda: self._fetch_document(name, url, headers))
        except NotFetched as problem:
            if old is None or problem.status == 404:
                raise
            logger.warning("%s; the copy of it that is here is used", problem)
            return old
        return await anyio.to_thread.run_sync(_document_in, path)

    def is_fresh(self, fetched: float) -> bool:
        """Whether a document of this time need not be asked for again."""
        return 0 <= time.time() - fetched < self._bounds.fresh

    async def file(self, url: str, digest: Digest) -> Path:
        """A file whose content has this hash.  NotFetched, also where what upstream sends has another."""
        name = _name("file", digest.algorithm, digest.value)
        path = await self._cache.find(name)
        if path is not None and await self._is_sound(name, path, digest):
            return path
        return await self._once(name, lambda: self._fetch_file(name, url, digest))

    # -- inside

    async def _once(self, name: str, fetch: Callable[[], Awaitable[Path]]) -> Path:
        """The result of `fetch`, which runs once for all who ask at the same time."""
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = _Flight(anyio.Event())
            self._tasks.start_soon(self._fly, name, flight, fetch, name="package download")
        await flight.done.wait()
        if flight.problem is not None:
            raise NotFetched(str(flight.problem), flight.problem.status)
        if flight.path is None:
            raise NotFetched("the server is shutting down", 503)
        return flight.path

    async def _fly(self, name: str, flight: _Flight, fetch: Callable[[], Awaitable[Path]]) -> None:
        try:
            async with self._places:
                await self._opened()
                flight.path = await fetch()
        except NotFetched as problem:
            flight.problem = problem
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            flight.problem = NotFetched(f"upstream does not answer: {str(error) or type(error).__name__}")
        except OSError as error:  # a full disk
            logger.exception("a package could not be kept")
            flight.problem = NotFetched(f"it could not be kept: {error.strerror}", 500)
        except Exception:  # a defect of ours must not end the pool's tasks
            logger.exception("a package could not be fetched")
            flight.problem = NotFetched("the server failed", 500)
        finally:
            del self._flights[name]
            flight.done.set()

    async def _opened(self) -> None:
        async with self._ready:
            if self._client is None:
                await self._cache.open()
                context = await anyio.to_thread.run_sync(ssl.create_default_context)
                self._client = httpx.AsyncClient(
                    verify=context,
                    timeout=self._bounds.timeout,
                    follow_redirects=True,
                    transport=self._transport,
                    headers={"user-agent": "vmpool"},
                )

    async def _fetch_document(self, name: str, url: str, headers: Mapping[str, str]) -> Path:
        body = bytearray()
        async with self._get(url, headers) as answer:
            async for data in answer.aiter_bytes(CHUNK):
                body += data
                if len(body) > MAX_DOCUMENT:
                    raise NotFetched(f"{url} is longer than {MAX_DOCUMENT} bytes")
        kind = answer.headers.get("content-type", "")
        head = json.dumps({"type": kind, "url": str(answer.url), "fetched": time.time()}).encode()
        part = self._cache.part()
        await anyio.to_thread.run_sync(part.write_bytes, head + b"\n" + body)
        return await self._cache.keep(name, part)

    async def _fetch_file(self, name: str, url: str, digest: Digest) -> Path:
        part = self._cache.part()
        try:
            with await anyio.to_thread.run_sync(part.open, "wb") as file:
                await self._download(url, file, digest)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: part.unlink(missing_ok=True))
            raise
        path = await self._cache.keep(name, part)
        self._sound[name] = await anyio.to_thread.run_sync(_stamp, path)
        return path

    async def _download(self, url: str, file: IO[bytes], digest: Digest) -> None:
        hashed, length = hashlib.new(digest.algorithm), 0
        async with self._get(url, {"accept-encoding": "identity"}) as answer:
            async for data in answer.aiter_raw(CHUNK):
                length += len(data)
                if length > self._bounds.max_file:
                    raise NotFetched(f"{url} is longer than {self._bounds.max_file} bytes", 403)
                await anyio.to_thread.run_sync(_take, file, hashed.update, data)
        if hashed.hexdigest() != digest.value:
            raise NotFetched(f"{url} does not have the hash that its index says")

    def _get(self, url: str, headers: Mapping[str, str]) -> _Getting:
        if self._client is None:
            raise NotFetched("the server is shutting down", 503)
        self.fetched += 1
        return _Getting(self._client, url, headers)

    async def _read_document(self, name: str) -> Document | None:
        await self._opened()
        path = await self._cache.find(name)
        if path is None:
            return None
        try:
            return await anyio.to_thread.run_sync(_document_in, path)
        except (ValueError, KeyError, OSError) as error:
            logger.warning("a kept index page is damaged (%s) and will be fetched again", error)
            await self._cache.drop(name)
            return None

    async def _is_sound(self, name: str, path: Path, digest: Digest) -> bool:
        """Whether a kept file still has its hash: looked at once, and again where it has changed."""
        stamp = await anyio.to_thread.run_sync(_stamp, path)
        if self._sound.get(name) == stamp:
            return True
        if await anyio.to_thread.run_sync(_hash_of, path, digest.algorithm) != digest.value:
            logger.warning("a kept package is damaged and will be fetched again")
            await self._cache.drop(name)
            return False
        self._sound[name] = stamp
        return True


@dataclass(slots=True, eq=False)
class _Flight:
    """One fetch under way."""

    done: anyio.Event
    path: Path | None = None
    problem: NotFetched | None = None


class _Getting:
    """A GET whose answer is read as it comes; NotFetched for any but 200."""

    def __init__(self, client: httpx.AsyncClient, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        self._stream = client.stream("GET", url, headers=dict(headers))

    async def __aenter__(self) -> httpx.Response:
        answer = await self._stream.__aenter__()
        if answer.status_code != 200:
            await self._stream.__aexit__(None, None, None)
            status = 404 if answer.status_code in (404, 410) else 502
            raise NotFetched(f"upstream answers {answer.status_code} for {self._url}", status)
        return answer

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stream.__aexit__(None, None, None)


def _name(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _document_in(path: Path) -> Document:
    head, _, body = path.read_bytes().partition(b"\n")
    said = json.loads(head)
    return Document(body, said["type"], said["url"], said["fetched"])


def _take(file: IO[bytes], update: Callable[[bytes], None], data: bytes) -> None:
    free = os.fstatvfs(file.fileno())
    if free.f_bavail * free.f_frsize < MIN_FREE:
        raise NotFetched("the server's disk has no room for it", 507)
    file.write(data)
    update(data)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_ino


def _hash_of(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
