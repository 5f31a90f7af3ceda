"""The dashboard's files: read once, sent packed, with a policy under which nothing else can run."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmpool.api.edge import decorate

BUILT: Final = Path(__file__).parents[2] / "web"
"""Where `make web` puts them, and where a wheel has them."""
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
NOT_BUILT: Final = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>vmpool</title><h1>No dashboard here</h1>"
    b"<p>This server was installed without it. In a checkout, <code>make web</code> builds it (it needs"
    b" Node.js 20 and npm). The API and the <code>vm</code> command work as ever.</p></html>"
)


@dataclass(frozen=True, slots=True)
class Page:
    """A file to be sent.  kept: its name says what is in it, so that browsers may keep it for ever."""

    kind: str
    plain: bytes
    packed: bytes
    kept: bool


class Pages:
    """ASGI middleware: `GET` of the dashboard's files, everything else by `app`."""

    def __init__(self, app: ASGIApp, folder: Path = BUILT) -> None:
        self._app = app
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and not path.startswith("/api/"):
            pages = pages_in(self._folder)
            page = pages.get(path)
            if page is not None:
                scope["state"]["route"] = "/" if path == "/" else "/assets/{file}"
                await _send(page, scope, receive, send)
                return
            if path == "/":
                await _answer(Response(NOT_BUILT, 404, media_type="text/html"), scope, receive, send)
                return
        await self._app(scope, receive, send)


@cache
def pages_in(folder: Path) -> dict[str, Page]:
    """By their paths; none where nothing was built."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix in KINDS:
            plain, name = file.read_bytes(), file.relative_to(folder).as_posix()
            packed = gzip.compress(plain, 9, mtime=0)
            path = "/" if name == "index.html" else f"/{name}"
            found[path] = Page(KINDS[file.suffix], plain, packed, name.startswith("assets/"))
    return found


async def _send(page: Page, scope: Scope, receive: Receive, send: Send) -> None:
    packs = "gzip" in Headers(scope=scope).get("accept-encoding", "")
    headers = {
        "content-type": page.kind,
        "cache-control": "public, max-age=31536000, immutable" if page.kept else "no-cache",
        "vary": "accept-encoding",
        **({"content-encoding": "gzip"} if packs else {}),
    }
    body = page.packed if packs else page.plain
    answer = Response(body, headers=headers)
    if scope["method"] == "HEAD":
        answer.body = b""
    await _answer(answer, scope, receive, send)


async def _answer(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    answer.headers["content-security-policy"] = POLICY
    answer.headers["cross-origin-opener-policy"] = "same-origin"
    answer.headers["permissions-policy"] = "camera=(), geolocation=(), microphone=()"

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            decorate(message, scope["state"]["request_id"], secure=scope.get("scheme") == "https")
        await send(message)

    await answer(scope, receive, sending)
