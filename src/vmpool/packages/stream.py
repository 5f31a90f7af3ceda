"""The registry as the far end of a connection: what a broker carries a VM's request to.

There is no socket.  The request is collected as it is sent, and receiving runs the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio

from vmpool.network.http import BadRequest, Head

Answering = Callable[[bytes], AsyncGenerator[bytes, None]]
"""From the head of a request to the bytes of its answer."""


class RegistryStream:
    """Implements `vmpool.network.relay.Stream` for one request."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._head = Head()
        self._asked: bytes | None = None
        self._whole = anyio.Event()
        self._answer: AsyncGenerator[bytes, None] | None = None
        self._closed = False

    async def send(self, item: bytes, /) -> None:
        """A piece of the request; what comes after its head is not looked at."""
        if self._closed:
            raise anyio.ClosedResourceError
        if self._asked is None:
            try:
                self._asked = self._head.feed(item)
            except BadRequest as error:
                raise anyio.BrokenResourceError from error
            if self._asked is not None:
                self._whole.set()

    async def send_eof(self) -> None:
        """Nothing more of the request follows."""
        self._whole.set()

    async def receive(self, max_bytes: int = 65536, /) -> bytes:
        """The next piece of the answer, as large as it comes; EndOfStream after the last."""
        await self._whole.wait()
        if self._closed or self._asked is None:
            raise anyio.EndOfStream
        if self._answer is None:
            self._answer = self._answering(self._asked)
        try:
            return await anext(self._answer)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def aclose(self) -> None:
        """Done with it."""
        self._closed = True
        self._whole.set()
        if self._answer is not None:
            answer, self._answer = self._answer, None
            try:
                await answer.aclose()
            except RuntimeError:  # it is being received from, and ends by that
                pass
