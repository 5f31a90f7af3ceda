"""One request passed on to a server in a VM, and its answer back, both as they come.

h11 speaks HTTP/1.1 with the server; nothing is held but what one window of the connection has.  A request is
a connection: opening one costs a fraction of a millisecond, and nothing is left over from one to the next.
"""

from __future__ import annotations

import anyio
import h11
from starlette.types import Message, Receive, Scope, Send

from vmpool.agent.base import NetworkStream
from vmpool.api.ports.carrying import ENDING_SECONDS, Watch, carry
from vmpool.api.ports.headers import Visit, from_vm, to_vm
from vmpool.api.upgrade import protocol_asked_for, upgrade_of
from vmpool.errors import BadPortAnswer, InvalidRequest, PortFailed, VMPoolError
from vmpool.network.relay import STREAM_ERRORS

HEAD_BYTES = 128 << 10
"""Of an answer's status line and headers."""
_SWITCHING = 101
_MOST_STATUS = 599
_WITHOUT_BODY = (204, 304)


class Exchange:
    """vm: its id, for messages.  target: path and query as they go on.  watch: what may end it early."""

    def __init__(
        self,
        vm: int | str,
        stream: NetworkStream,
        visit: Visit,
        target: bytes,
        watch: Watch,
    ) -> None:
        self._vm = vm
        self._stream = stream
        self._visit = visit
        self._target = target
        self._watch = watch
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self._uploading = anyio.CancelScope()
        self._begun = False
        self._complete = False

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See it through, and close the stream.

        Raises InvalidRequest for what cannot be passed on and BadPortAnswer for an answer that is none; once
        an answer has begun, the client's connection is cut instead.
        """
        try:
            problem = await self._run(scope, receive, send)
            if problem is not None:
                await self._refuse(problem, scope, receive)
        finally:
            if not self._complete:
                self._stream.reset()  # the server notices at once that nobody reads on
            with anyio.move_on_after(ENDING_SECONDS, shield=True):
                await self._stream.aclose()

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> VMPoolError | None:
        await self._say(self._request(scope))
        problem: VMPoolError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._upload, receive, tasks.cancel_scope)
            tasks.start_soon(self._watch.until_over, tasks.cancel_scope)
            try:
                await self._answer(scope, send)
                self._complete = True
            except PortFailed as failure:
                problem = failure
            tasks.cancel_scope.cancel()
        if problem is None and self._watch.problem is not None and not self._complete:
            problem = self._watch.problem
        return problem

    async def _refuse(self, problem: VMPoolError, scope: Scope, receive: Receive) -> None:
        if not self._begun:
            raise problem
        upgrade = upgrade_of(scope)
        if upgrade is None:
            raise problem
        upgrade.abort()
        while (await receive())["type"] != "http.disconnect":
            pass

    def _request(self, scope: Scope) -> h11.Request:
        wanted = protocol_asked_for(scope)
        try:
            return h11.Request(
                method=scope["method"],
                target=self._target,
                headers=to_vm(scope["headers"], self._visit, wanted),
            )
        except h11.LocalProtocolError as error:
            raise InvalidRequest("path", f"this request cannot be passed on: {error}") from error

    async def _say(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        """Send it; a server that does not listen any more may have answered all the same."""
        try:
            data = self._http.send(event)
            if data:
                await self._stream.send(data)
        except (h11.LocalProtocolError, *STREAM_ERRORS):
            self._uploading.cancel()

    async def _upload(self, receive: Receive, whole: anyio.CancelScope) -> None:
        """Pass the body on, then wait for the client to go away."""
        with self._uploading:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    whole.cancel()
                    return
                await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        if self._http.our_state is not h11.SEND_BODY:
            return
        body = message.get("body", b"")
        if body:
            await self._say(h11.Data(data=body))
        if not message.get("more_body", False):
            await self._say(h11.EndOfMessage())

    async def _answer(self, scope: Scope, send: Send) -> None:
        while True:
            event = await self._next()
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == _SWITCHING:
                    await self._switch(event, scope)
                    return
            elif isinstance(event, h11.Response):
                await self._begin(event, scope, send)
            elif isinstance(event, h11.Data):
                await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
            elif isinstance(event, h11.EndOfMessage):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            else:
                raise self._bad("ended without an answer")

    async def _next(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                try:
                    self._http.receive_data(await self._stream.receive())
                except anyio.EndOfStream:
                    self._http.receive_data(b"")
            return event
        except h11.RemoteProtocolError as error:
            raise self._bad(f"does not answer as HTTP/1.1 has it: {error}") from error
        except STREAM_ERRORS as error:
            raise self._bad("broke the connection off") from error

    async def _begin(self, answer: h11.Response, scope: Scope, send: Send) -> None:
        status = answer.status_code
        if status > _MOST_STATUS:
            raise self._bad(f"answers with a status there is not: {status}")
        headers = from_vm(answer.headers, self._visit)
        if status in _WITHOUT_BODY:
            headers = [header for header in headers if header[0] != b"content-length"]
        scope["state"]["passed"] = True
        self._begun = True
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def _switch(self, answer: h11.InformationalResponse, scope: Scope) -> None:
        """From here on it is a stream of bytes, which nobody here looks into."""
        upgrade = upgrade_of(scope)
        assert upgrade is not None  # h11 takes no 101 that was not asked for
        self._uploading.cancel()
        protocol = [header for header in answer.headers if header[0] == b"upgrade"]
        headers = [(b"connection", b"upgrade"), *protocol, *from_vm(answer.headers, self._visit)]
        scope["state"]["passed"] = scope["state"]["switched"] = self._begun = True
        client = upgrade.switch(headers)
        early, _ = self._http.trailing_data
        try:
            if early:
                await client.send(early)
            await carry(self._stream, client, client.until_lost)
        except STREAM_ERRORS:
            pass
        finally:
            await client.aclose()

    def _bad(self, problem: str) -> BadPortAnswer:
        return BadPortAnswer(self._vm, self._visit.port, problem)
