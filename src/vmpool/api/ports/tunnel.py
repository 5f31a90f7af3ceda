"""A TCP connection into a VM through the API: what `vm forward` is made of."""

from __future__ import annotations

from collections import deque
from functools import partial

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vmpool.agent.base import NetworkStream
from vmpool.api.ports.carrying import ENDING_SECONDS, Watch, carry
from vmpool.api.upgrade import Upgraded, upgrade_of
from vmpool.domain.tunnel import END, PROTOCOL, Pieces, piece


class Tunnel:
    """Implements `vmpool.network.relay.Stream` in pieces over a connection that has left HTTP."""

    def __init__(self, client: Upgraded) -> None:
        self._client = client
        self._pieces = Pieces()
        self._waiting: deque[bytes] = deque()

    async def receive(self, max_bytes: int = 65536, /) -> bytes:
        """At least one byte; EndOfStream after the end, BrokenResourceError if there was none."""
        while not self._waiting:
            if self._pieces.ended:
                raise anyio.EndOfStream
            try:
                self._waiting.extend(self._pieces.feed(await self._client.receive(max_bytes)))
            except anyio.EndOfStream as end:
                raise anyio.BrokenResourceError("the client went away") from end
        return self._waiting.popleft()

    async def send(self, item: bytes, /) -> None:
        """Send all of it, waiting while the client does not take it."""
        await self._client.send(piece(item))

    async def send_eof(self) -> None:
        """Nothing more follows."""
        await self._client.send(END)

    async def aclose(self) -> None:
        """Done with it."""
        await self._client.aclose()


class Opened(Response):
    """The answer is 101, and from then on the connection is `stream`'s."""

    def __init__(self, stream: NetworkStream, watch: Watch) -> None:
        super().__init__(status_code=101)
        self._stream = stream
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upgrade = upgrade_of(scope)
        assert upgrade is not None  # it was asked for
        request_id = scope["state"]["request_id"].encode()
        names = (b"connection", b"upgrade"), (b"upgrade", PROTOCOL.encode()), (b"x-request-id", request_id)
        client = upgrade.switch(names)
        scope["state"]["switched"] = True
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch.until_over, tasks.cancel_scope)
                await carry(self._stream, Tunnel(client), partial(client.until_lost, or_ended=True))
                tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(ENDING_SECONDS, shield=True):
                await self._stream.aclose()
                await client.aclose()
