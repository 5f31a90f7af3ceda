"""Sessions of browsers: a cookie that stands for an API key, for as long as the server remembers it.

A browser sends a cookie by itself, whoever made it ask.  So a cookie alone opens nothing: a request must also
carry a header that only a page of this very site can add, and a WebSocket, which has no such header, must
come from this site's origin.  That leaves links, forms and pages that a VM serves without the session.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from vmpool.store import utcnow

COOKIE: Final = "vmpool_session"
SECURE_COOKIE: Final = f"__Host-{COOKIE}"
"""Over TLS: a name that no other host can set for this one."""
HEADER: Final = b"x-vmpool-session"
"""What a page of the dashboard adds to each request; no other site's page can."""
LIFETIME: Final = timedelta(hours=12)
MAX_SESSIONS: Final = 1024
"""Of all users; the one that began longest ago is given up for a new one."""
SAFE: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Held:
    """A session.  header: the Authorization header it stands for."""

    header: str
    expires_at: datetime


class Sessions:
    """Those of one server, by the hash of their token, in memory only: a restart ends them all."""

    def __init__(self, clock: Callable[[], datetime] = utcnow) -> None:
        self._clock = clock
        self._held: OrderedDict[bytes, Held] = OrderedDict()

    def begin(self, header: str, key_ends: datetime | None) -> tuple[str, Held]:
        """A new session's token.  header: how its user authenticated.  key_ends: it lasts no longer."""
        token = secrets.token_urlsafe(32)
        expires_at = self._clock() + LIFETIME
        held = Held(header, min(expires_at, key_ends or expires_at))
        self._held[_digest(token)] = held
        if len(self._held) > MAX_SESSIONS:
            self._held.popitem(last=False)
        return token, held

    def find(self, token: str) -> Held | None:
        """The session; None where there is none any more."""
        digest = _digest(token)
        held = self._held.get(digest)
        if held is not None and self._clock() >= held.expires_at:
            del self._held[digest]
            return None
        return held

    def end(self, token: str) -> None:
        """Forget it; of one that is not there nothing."""
        self._held.pop(_digest(token), None)


class SessionCookies:
    """ASGI middleware: where a session's cookie may be believed, `app` sees the key it stands for.

    The cookie itself never goes further: what is inside passes requests on to VMs.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            for name, value in scope["headers"]:
                if name == b"cookie" and COOKIE.encode() in value:
                    self._exchange(scope)
                    break
        await self._app(scope, receive, send)

    def _exchange(self, scope: Scope) -> None:
        name = SECURE_COOKIE if scope.get("scheme") in ("https", "wss") else COOKIE
        token, headers = _taken_out(scope["headers"], name)
        scope["headers"] = headers
        if token is None or any(key == b"authorization" for key, _ in headers) or not _from_own_page(scope):
            return
        held = self._sessions.find(token)
        if held is not None:
            headers.append((b"authorization", held.header.encode("latin-1")))
            scope.setdefault("state", {})["session"] = (token, held)


def cookie(token: str, *, secure: bool, seconds: int) -> str:
    """The Set-Cookie header.  seconds: 0 removes it."""
    name, flag = (SECURE_COOKIE, "; Secure") if secure else (COOKIE, "")
    return f"{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{flag}"


def _from_own_page(scope: Scope) -> bool:
    """Whether a page of this site asks, as far as its browser can tell."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin")
    if origin is None:
        allowed = scope["type"] == "http" and scope["method"] in SAFE
    else:
        allowed = _authority(origin) == headers.get(b"host", b"").decode("latin-1").lower()
    return allowed and (scope["type"] == "websocket" or headers.get(HEADER) == b"1")


def _authority(origin: bytes) -> str | None:
    try:
        parts = urlsplit(origin.decode("latin-1"))
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _taken_out(
    headers: list[tuple[bytes, bytes]], wanted: str
) -> tuple[str | None, list[tuple[bytes, bytes]]]:
    """The wanted cookie's value, and the headers without any session's cookie."""
    token, kept = None, []
    for name, value in headers:
        if name != b"cookie":
            kept.append((name, value))
            continue
        others = []
        for pair in value.decode("latin-1").split(";"):
            key, _, text = pair.strip().partition("=")
            if key == wanted:
                token = text
            elif key not in (COOKIE, SECURE_COOKIE):
                others.append(pair.strip())
        if others:
            kept.append((name, "; ".join(others).encode("latin-1")))
    return token, kept


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
