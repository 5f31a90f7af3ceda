"""uvicorn's protocol, with requests that leave HTTP: see `vmpool.api.upgrade`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from vmpool.api.upgrade import EXTENSION, MOST_HELD, Headers, Upgraded


class UpgradingProtocol(HttpToolsProtocol):
    """Implements `vmpool.api.upgrade.Upgrade` for the request that is being answered.

    What the client sends before it has its answer is kept, and belongs to whatever the answer makes of the
    connection.
    """

    _asking: RequestResponseCycle | None = None
    _upgraded: Upgraded | None = None
    _piece = b""
    _early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))  # uvloop's have no base class
        self._extensions: dict[str, object] = {EXTENSION: self}

    @property
    def left_http(self) -> bool:
        """What comes is, or may be, no HTTP any more."""
        return self._upgraded is not None or self._asking is not None

    # -- `vmpool.api.upgrade.Upgrade`

    @property
    def offered(self) -> bool:
        """Whether the request asks for another protocol and is not answered yet."""
        asking = self._asking
        return asking is not None and asking is self.cycle and not asking.response_started

    def switch(self, headers: Headers) -> Upgraded:
        """Answer 101 with these headers; what the connection is from then on."""
        if not self.offered:
            raise RuntimeError("this request asks for no other protocol, or is answered already")
        self.cycle.response_started = self.cycle.response_complete = True
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([b"HTTP/1.1 101 Switching Protocols\r\n", *lines, b"\r\n"]))
        self._upgraded = Upgraded(self.transport, self.flow)
        early, self._early = self._early, b""
        if early:
            self._upgraded.arrived(early)
        return self._upgraded

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    # -- uvicorn's

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope)["extensions"] = self._extensions
        if self.parser.should_upgrade() and self._get_upgrade() is not None and not self._should_upgrade():
            self._asking = self.cycle

    def data_received(self, data: bytes) -> None:
        """For the parser, unless HTTP has been left."""
        if self._upgraded is not None:
            self._upgraded.arrived(data)
        elif self._asking is not None and not self.parser_reads_on():
            self._keep(data)
        else:
            self._piece = data
            super().data_received(data)
            self._piece = b""

    def parser_reads_on(self) -> bool:
        """Whether the asking request's own body is still to come."""
        return self._asking is not None and self._asking.more_body

    def _unsupported_upgrade_warning(self) -> None:
        """The parser has met the end of a head that asks for another protocol: the rest is not its own."""
        end = sys.exception()
        if isinstance(end, httptools.HttpParserUpgrade) and self._asking is not None:
            self._keep(self._piece[end.args[0] :])

    def _keep(self, data: bytes) -> None:
        self._early += data
        if len(self._early) > MOST_HELD:
            self.flow.pause_reading()

    def on_response_complete(self) -> None:
        """The answer was another one than 101: what came meanwhile is HTTP after all."""
        super().on_response_complete()
        if self._asking is not None:
            early, self._early, self._asking = self._early, b"", None
            if early and not self.transport.is_closing():
                self.data_received(early)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's says no more than "close it"
        """Keep the other direction of a connection that has left HTTP, where there is such a thing."""
        if self._upgraded is None:
            return False
        self._upgraded.ended()
        return self.transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._upgraded is not None:
            self._upgraded.lost()
