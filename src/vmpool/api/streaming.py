"""Bodies and answers that are passed on as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; 400 where it ends early."""
    try:
        async for piece in request.stream():
            if piece:
                yield piece
    except ClientDisconnect as error:
        raise HTTPException(400, "the body ended before it was complete") from error


class Streamed(StreamingResponse):
    """Sends pieces and then closes what they came from, whatever happens."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        answer: Response,
        aclose: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(pieces, answer.status_code)
        self.raw_headers = [header for header in answer.raw_headers if header != (b"content-length", b"0")]
        self._aclose = aclose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._aclose is not None:
                await self._aclose()
