"""Whoever has a link: the hosts that links lead to, one for each port of each VM.

A host of its own is an origin of its own: what a VM serves there can do to the API's pages, and to other
VMs', no more than any page on the web.  No API key counts here, and no link counts at the API's own host.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmpool import errors
from vmpool.api.auth import Authenticator
from vmpool.api.edge import cut, headers_of_every_answer
from vmpool.api.errors import edge_problem, respond, respond_to
from vmpool.api.ports.carrying import Watch
from vmpool.api.ports.exchange import Exchange
from vmpool.api.ports.headers import SHARE_HEADER, Visit, cookies
from vmpool.api.ports.site import TOKEN, ShareSite
from vmpool.pool.vm_pool_manager import VMPoolManager

log = logging.getLogger(__name__)

Record = Callable[[Scope, int], Awaitable[None]]
ROUTE = "a link's host"
_OF_NO_PAGE = {"same-origin", "none"}


class ShareHosts:
    """ASGI application: requests to hosts below the site's domain by itself, everything else by `app`."""

    def __init__(
        self,
        app: ASGIApp,
        site: ShareSite,
        pool: VMPoolManager,
        authenticator: Authenticator,
        record: Record,
    ) -> None:
        self._app = app
        self._site = site
        self._pool = pool
        self._authenticator = authenticator
        self._record = record
        self._apis = b""  # the API's own host, as it was asked for last: nearly every request's

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        label = None
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"host":
                    if value != self._apis:
                        label = self._site.label(value)
                        if label is None:
                            self._apis = value
                    break
        if label is None:
            await self._app(scope, receive, send)
        else:
            await self._answered(label, scope, receive, send)

    async def _answered(self, label: str, scope: Scope, receive: Receive, send: Send) -> None:
        """What a visitor gets, whatever happens; as `vmpool.api.edge` has it for the API."""
        state = scope["state"]
        state["route"] = ROUTE
        request_id: str = state["request_id"]
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        answer: Response | None = None
        try:
            answer = await self._visit(label, scope, receive, sending)
        except errors.VMPoolError as error:
            if begun:
                raise
            answer = respond_to(error, request_id)
        except anyio.get_cancelled_exc_class():  # the server's end, as at the edge: this task ends here too
            if begun:
                raise
            answer = respond_to(cut(), request_id)
        except Exception:
            log.exception("request %s failed: %s at a link's host", request_id, scope["method"])
            if begun:
                raise
            answer = respond(edge_problem(500, f"internal error, in the log as {request_id}", request_id))
        if answer is not None:
            for name, value in headers_of_every_answer(request_id, secure=self._site.secure):
                answer.headers.setdefault(name.decode(), value.decode())
            if answer.status_code == 401:
                await self._record(scope, 401)
            await answer(scope, receive, send)

    async def _visit(self, label: str, scope: Scope, receive: Receive, send: Send) -> Response | None:
        """Pass the request on, or the answer that is ours to give."""
        shown = _shown(scope, self._site, label)
        token = next((one for one in shown.tokens if self._pool.visited(label, one) is not None), None)
        if token is None:
            client = scope.get("client")
            raise self._authenticator.failure(None if client is None else client[0], errors.ShareInvalid())
        path = scope["raw_path"] + (b"?" + shown.query if shown.query else b"")
        if shown.in_link and _is_a_browsers(scope):
            return self._remembered(label, token, path)
        found = self._pool.visited(label, token)
        assert found is not None
        vm, port = found
        stream = await self._pool.visit(label, token)

        async def allowed() -> None:
            if self._pool.visited(label, token) is None:
                raise errors.ShareInvalid

        client = scope.get("client")
        visit = Visit(
            port=port,
            host=Headers(scope=scope)["host"].encode("latin-1"),
            scheme=self._site.scheme,
            client=None if client is None else client[0],
        )
        await Exchange(vm.id, stream, visit, path, Watch(allowed)).run(scope, receive, send)
        return None

    def _remembered(self, label: str, token: str, path: bytes) -> Response:
        """The same page without the token in its address, which is a cookie from now on."""
        answer = Response(status_code=303)
        answer.headers["location"] = self._site.origin(label) + path.decode("ascii", "replace")
        answer.set_cookie(
            self._site.cookie, token, secure=self._site.secure, httponly=True, samesite="lax", path="/"
        )
        return answer


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a visitor shows.  query: what goes on of it.  in_link: the token is in the address."""

    tokens: tuple[str, ...]
    query: bytes
    in_link: bool


def _shown(scope: Scope, site: ShareSite, label: str) -> _Shown:
    parts = scope["query_string"].split(b"&")
    own = TOKEN.encode() + b"="
    given = [part.removeprefix(own).decode("latin-1") for part in parts if part.startswith(own)]
    query = b"&".join(part for part in parts if not part.startswith(own))
    for name, value in scope["headers"]:
        if name == SHARE_HEADER:
            given.append(value.decode("latin-1"))
        elif name == b"cookie" and _comes_from_its_own_page(scope, site.origin(label)):
            wanted = site.cookie.encode()
            given += [
                pair.partition(b"=")[2].decode("latin-1") for name, pair in cookies(value) if name == wanted
            ]
    return _Shown(tuple(given), query, len(query) != len(scope["query_string"]))


def _comes_from_its_own_page(scope: Scope, origin: str) -> bool:
    """Whether the cookie may count: not for what another origin's page asks for behind the visitor's back.

    That is all that keeps a page of one VM from another's, where the visitor has links to both, and other
    sites from opening WebSockets here.
    """
    headers = Headers(scope=scope)
    if headers.get("origin", origin) != origin:
        return False
    if headers.get("sec-fetch-site", "none") in _OF_NO_PAGE:
        return True
    return (
        headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and scope["method"] in ("GET", "HEAD")
    )


def _is_a_browsers(scope: Scope) -> bool:
    """Whether a page is asked for, by something that keeps cookies."""
    return scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", "")
