"""One server over kept-alive connections: sending calls, repeating the safe ones, naming failures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from vmpool.client import local
from vmpool.client._sync.waiting import Lock, apart, sleep
from vmpool.client.errors import APIError, Dispatch, ServerUnreachable
from vmpool.client.tls import trust_of
from vmpool.client.wire import (
    EVENT_STREAM,
    A,
    Call,
    error_of,
    first_page,
    length,
    next_page,
    pause_before_retry,
    unexpected,
    value,
    values,
)


class Connection:
    """Where calls go.

    locate: finds the server, at the first call.  patience: seconds a call may spend being refused with
    429 or 503 before it raises.  transport: instead of the network, for tests and for in-process servers.
    """

    def __init__(
        self, locate: local.Locate, *, patience: float, transport: httpx.BaseTransport | None
    ) -> None:
        self._locate = locate
        self._patience = patience
        self._transport = transport
        self._http: httpx.Client | None = None
        self._opening = Lock()

    def close(self) -> None:
        """Close every connection; a later call opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            http.close()

    def address(self) -> local.Address:
        """Where the server is."""
        return apart(self._locate)

    def send(self, call: Call) -> httpx.Response:
        """The complete answer to `call`; what is not 2xx is raised."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._attempt(call)
            except APIError as error:
                pause = pause_before_retry(error, left=deadline - time.monotonic())
                if pause is None:
                    raise
            sleep(pause)

    def one(self, model: type[A], call: Call) -> A:
        """The answer to `call` as a value."""
        answer = self.send(call)
        return value(model, answer.content)

    def several(self, model: type[A], call: Call) -> list[A]:
        """The answer to `call` as a list of values."""
        answer = self.send(call)
        return values(model, answer.content)

    def all(self, model: type[A], path: str, limit: int | None = None, **narrowed: object) -> list[A]:
        """Every item of a collection, page by page, or its first `limit`.  narrowed: further parameters."""
        found: list[A] = []
        page = first_page(path, limit, narrowed)
        while page is not None and (limit is None or len(found) < limit):
            answer = self.send(Call("GET", page))
            found += values(model, answer.content)
            page = next_page(answer.links)
        return found[:limit]

    @contextmanager
    def stream(self, call: Call, kind: str = EVENT_STREAM) -> Iterator[httpx.Response]:
        """The answer to `call`, still to come; what is not 2xx, or not of this media type, is raised."""
        http = self._open()
        request = self._request(http, call)
        request.headers["Accept"] = kind
        if kind != EVENT_STREAM:
            request.headers["Accept-Encoding"] = "identity"
        try:
            response = http.send(request, stream=True)
        except httpx.TransportError as error:
            raise self._failure(http, error, call) from error
        try:
            if not response.is_success:
                payload = response.read()
                raise error_of(response.status_code, response.headers, payload)
            sent = response.headers.get("content-type", "")
            if not sent.startswith(kind):
                raise unexpected(sent)
            yield response
        except httpx.TransportError as error:
            raise self._failure(http, error, call) from error
        finally:
            response.close()

    def upload(
        self,
        call: Call,
        content: bytes | Iterator[bytes],
        kind: str,
        size: int | None = None,
    ) -> httpx.Response:
        """The answer to `call`, whose body is `content` as it comes; never sent twice by itself.

        kind: the body's media type.  size: its bytes, where they are known.
        """
        http = self._open()
        request = http.build_request(
            call.method,
            call.path,
            content=content,
            headers={**call.headers(), "Content-Type": kind, **length(size)},
            timeout=httpx.Timeout(call.wait, connect=10.0, pool=None),
        )
        try:
            response = http.send(request)
        except httpx.TransportError as error:
            raise self._failure(http, error, call) from error
        if not response.is_success:
            raise error_of(response.status_code, response.headers, response.content)
        return response

    def _attempt(self, call: Call) -> httpx.Response:
        http = self._open()
        try:
            response = http.send(self._request(http, call))
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            # Most likely a kept-alive connection that the server had just given up.
            if not call.repeatable:
                raise self._failure(http, error, call) from error
            try:
                response = http.send(self._request(http, call))
            except httpx.TransportError as again:
                raise self._failure(http, again, call) from again
        except httpx.TransportError as error:
            raise self._failure(http, error, call) from error
        if not response.is_success and response.status_code not in call.also:
            raise error_of(response.status_code, response.headers, response.content)
        return response

    def _open(self) -> httpx.Client:
        with self._opening:
            if self._http is None:
                address = apart(self._locate)
                self._http = httpx.Client(
                    base_url=address.url,
                    headers=address.headers(),
                    transport=self._transport,
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
                    # Proxies of the environment are for the network, not for this machine.
                    trust_env=not address.is_loopback,
                    verify=apart(lambda: trust_of(address)),
                )
            return self._http

    def _request(self, http: httpx.Client, call: Call) -> httpx.Request:
        return http.build_request(
            call.method,
            call.path,
            json=call.body,
            params=dict(call.params) or None,
            headers=call.headers(),
            timeout=httpx.Timeout(call.wait, connect=10.0, pool=None),
        )

    def _failure(self, http: httpx.Client, error: httpx.TransportError, call: Call) -> ServerUnreachable:
        sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
        dispatch: Dispatch = "outcome_unknown" if sent and call.method != "GET" else "never_dispatched"
        problem = str(error) or type(error).__name__
        return ServerUnreachable(str(http.base_url).rstrip("/"), problem, dispatch)
