"""The three ways a program asks for a connection, each with its own way to be refused and to be carried."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import anyio

from vmpool.network import http, socks
from vmpool.network.destinations import Destination
from vmpool.network.outcomes import Outcome
from vmpool.network.relay import CHUNK, STREAM_ERRORS, GuestStream, Meter, Stream, pump, relay

Secrets = Callable[[Destination], Mapping[bytes, bytes]]
"""What a VM's requests to a destination may be given: name → value."""


class Misunderstood(Exception):
    """What came is no request.  answer: what to send before closing."""

    def __init__(self, why: str, answer: bytes) -> None:
        super().__init__(why)
        self.why = why
        self.answer = answer


class Asking(abc.ABC):
    """A connection whose destination is known.  rest: what the guest has sent already past the asking."""

    via: Literal["http", "connect", "socks", "direct"]

    def __init__(self, to: Destination, guest: GuestStream, rest: bytes = b"") -> None:
        self.to = to
        self._guest = guest
        self._rest = rest

    def fill(self, secrets: Secrets) -> None:  # noqa: B027 - only requests have headers
        """Put the secrets in that it names and that are meant for where it goes."""

    @abc.abstractmethod
    async def refuse(self, outcome: Outcome) -> None:
        """Tell the program why it is not connected."""

    @abc.abstractmethod
    async def carry(self, far: Stream, meter: Meter) -> str | None:
        """Tell the program that it is connected, and carry to the end; what was wrong with the far side."""

    async def _tunnel(self, far: Stream, meter: Meter, granted: bytes) -> None:
        """Carry both ways whatever comes.  granted: what tells the program that it is connected."""
        if granted:
            await self._guest.send(granted)
        await relay(_Begun(self._guest, self._rest), far, meter)


class Direct(Asking):
    """A program that believes to have connected already."""

    via = "direct"

    async def refuse(self, outcome: Outcome) -> None:
        self._guest.reset()

    async def carry(self, far: Stream, meter: Meter) -> None:
        await self._tunnel(far, meter, b"")


class Connect(Asking):
    """HTTP's CONNECT."""

    via = "connect"

    async def refuse(self, outcome: Outcome) -> None:
        await _answer(self._guest, outcome)

    async def carry(self, far: Stream, meter: Meter) -> None:
        await self._tunnel(far, meter, http.ESTABLISHED)


class Socks(Asking):
    """SOCKS5's CONNECT."""

    via = "socks"

    async def refuse(self, outcome: Outcome) -> None:
        await self._guest.send(socks.reply(outcome.reply))
        await self._guest.send_eof()

    async def carry(self, far: Stream, meter: Meter) -> None:
        await self._tunnel(far, meter, socks.reply(socks.Reply.SUCCEEDED))


class Request(Asking):
    """One HTTP request to pass on."""

    via = "http"

    def __init__(self, forward: http.Forward, guest: GuestStream, rest: bytes) -> None:
        super().__init__(forward.to, guest, rest)
        self._forward = forward

    def fill(self, secrets: Secrets) -> None:
        if b"{{" in self._forward.head:
            head = http.filled(self._forward.head, secrets(self.to))
            self._forward = replace(self._forward, head=head)

    async def refuse(self, outcome: Outcome) -> None:
        await _answer(self._guest, outcome)

    async def carry(self, far: Stream, meter: Meter) -> str | None:
        shown = _Shown()
        problem: str | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._send, far, meter)
            problem = await self._receive(far, meter, shown)
            tasks.cancel_scope.cancel()  # a server may answer before it has read everything
        if problem is not None and shown.begun:
            self._guest.reset()  # an answer that broke off must not look whole
        elif problem is not None:
            await self._guest.send(http.answer(502, "No answer from the destination", f"vmpool: {problem}."))
            await self._guest.send_eof()
        return problem

    async def _send(self, far: Stream, meter: Meter) -> None:
        """The head, and the body to its end; a body that breaks off ends the exchange."""
        body, data = self._forward.body, self._rest
        try:
            if not meter.sent(len(self._forward.head)):
                return
            await far.send(self._forward.head)
            while not body.done:
                passed = body.take(data)
                if not meter.sent(len(passed)):
                    return
                if passed:
                    await far.send(passed)
                if not body.done:
                    data = await self._guest.receive(CHUNK)
        except (anyio.EndOfStream, http.BadRequest):
            await far.aclose()  # the answer to half a request is nobody's
        except STREAM_ERRORS:
            pass  # the server has read enough, and what it says is on its way; or the guest is gone

    async def _receive(self, far: Stream, meter: Meter, shown: _Shown) -> str | None:
        """The answer, to the end of the connection; what was wrong with it."""
        rest = b""
        try:
            while True:
                head = http.Head()
                while (whole := head.feed(rest)) is None:
                    rest = await far.receive(CHUNK)
                    if not meter.received(len(rest)):
                        return None
                rest = head.rest
                status, edited = http.parse_response(whole)
                await self._guest.send(edited)
                if status >= 200:
                    break
            shown.begun = True
            if rest:
                await self._guest.send(rest)
            if await pump(far, self._guest, meter.received):
                await self._guest.send_eof()
            return None
        except anyio.EndOfStream:
            return "the server ended the connection without an answer"
        except (http.BadRequest, http.BadResponse) as failure:
            return failure.why
        except STREAM_ERRORS:
            return "the connection broke"


class _Shown:
    """Whether the guest has seen the beginning of the server's answer."""

    begun = False


class _Begun:
    """A guest of whose bytes some have been read already."""

    def __init__(self, guest: GuestStream, rest: bytes) -> None:
        self._guest = guest
        self._rest = rest

    async def receive(self, max_bytes: int = CHUNK, /) -> bytes:
        """What was read first, then what comes."""
        if self._rest:
            data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
            return data
        return await self._guest.receive(max_bytes)

    async def send(self, item: bytes, /) -> None:
        """As the guest's."""
        await self._guest.send(item)

    async def send_eof(self) -> None:
        """As the guest's."""
        await self._guest.send_eof()

    async def aclose(self) -> None:
        """As the guest's."""
        await self._guest.aclose()


async def _answer(guest: GuestStream, outcome: Outcome) -> None:
    await guest.send(http.answer(outcome.status, outcome.phrase, outcome.text, outcome.retry_after))
    await guest.send_eof()


async def ask(guest: GuestStream) -> Asking | None:
    """What a client of the proxy wants; None where it ended before it said so.  Misunderstood."""
    try:
        data = await guest.receive(CHUNK)
        if data[0] == socks.VERSION:
            return await _socks(guest, data)
        return await _http(guest, data)
    except anyio.EndOfStream:
        return None


async def _socks(guest: GuestStream, data: bytes) -> Asking:
    handshake = socks.Handshake()
    while True:
        try:
            answer = handshake.feed(data)
        except socks.BadHandshake as problem:
            raise Misunderstood(problem.why, problem.answer) from None
        if answer:
            await guest.send(answer)
        if handshake.destination is not None:
            return Socks(handshake.destination, guest, handshake.rest)
        data = await guest.receive(CHUNK)


async def _http(guest: GuestStream, data: bytes) -> Asking:
    head = http.Head()
    try:
        while (whole := head.feed(data)) is None:
            data = await guest.receive(CHUNK)
        asked = http.parse_request(whole)
    except http.BadRequest as problem:
        answer = http.answer(problem.status, _PHRASES[problem.status], f"vmpool: {problem.why}.")
        raise Misunderstood(problem.why, answer) from None
    if isinstance(asked, http.Tunnel):
        return Connect(asked.to, guest, head.rest)
    return Request(asked, guest, head.rest)


_PHRASES = {400: "Bad Request", 431: "Request Header Fields Too Large", 501: "Not Implemented"}
