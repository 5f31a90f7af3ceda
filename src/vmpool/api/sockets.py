"""WebSockets: an execution's output as it comes, and its standard input and signals the other way.

Written against ASGI itself: the framework's dependencies are for HTTP.  The path is that of the event stream
(`vmpool.api.streams`), and so are scopes, positions and what is not found.
"""

from __future__ import annotations

import json
import logging
import re
from contextlib import aclosing

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from vmpool import errors
from vmpool.api import answers, events, streams
from vmpool.api.edge import Record, decorate
from vmpool.api.errors import edge_problem, problem_of, respond, respond_to
from vmpool.api.observed import request_id_of
from vmpool.api.record import REFUSED
from vmpool.api.schemas import SocketMessage
from vmpool.api.schemas.base import LARGEST_ID
from vmpool.api.services import Services
from vmpool.domain import Principal, TerminalSize
from vmpool.domain import Scope as Scopes
from vmpool.pool.watch import Piece, Position
from vmpool.telemetry import log_context

log = logging.getLogger(__name__)

_PATH = re.compile(r"/api/vms/([a-z0-9-]{1,63})/executions/([0-9]{1,19})/stream")
_EXECUTIONS = re.compile(rb"/api/vms/[^/]+/executions/.*", re.DOTALL)
OPERATION = "stream_execution"
WAITING_MESSAGES = 8
"""Pieces of standard input that may wait here for the program; then the sender waits."""
DONE, GOING_AWAY, NOT_ALLOWED, FAILED = 1000, 1012, 1008, 1011
"""Codes a socket is closed with (RFC 6455, section 7.4.1; 1012: come again)."""


def is_socket(path: bytes) -> bool:
    """Whether a WebSocket at this path, as it was sent, is answered here, be it by a refusal."""
    return _EXECUTIONS.fullmatch(path) is not None


class Sockets:
    """ASGI application: WebSockets by itself, everything else by `app`."""

    def __init__(self, app: ASGIApp, services: Services, record: Record) -> None:
        self._app = app
        self._services = services
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        socket = WebSocket(scope, receive, send)
        request_id = request_id_of(socket.headers.get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        log_context.for_request(request_id)
        try:
            conversation = await self._let_in(socket)
        except errors.VMPoolError as error:
            if isinstance(error, errors.UserDisabled):
                scope["state"]["refused"] = error
            await self._deny(socket, respond_to(error, request_id))
        except HTTPException as error:
            await self._deny(socket, respond(edge_problem(error.status_code, error.detail, request_id)))
        else:
            await socket.accept(headers=[(b"x-request-id", request_id.encode())])
            await conversation.run()

    async def _let_in(self, socket: WebSocket) -> Conversation:
        services, state = self._services, socket.scope["state"]
        address = None if socket.client is None else socket.client.host
        caller = await services.authenticator(socket.headers.get("authorization"), address)
        state["caller"] = caller
        log_context.for_user(caller.id)
        found = _PATH.fullmatch(socket.scope["path"])
        if found is None or int(found[2]) > LARGEST_ID:
            raise HTTPException(404, "no WebSocket is here")
        reference, execution_id = found[1], int(found[2])
        state["operation"] = OPERATION
        socket.scope["path_params"] = {"vm_id": reference, "execution_id": execution_id}
        caller.require(Scopes.READ)
        at, tail = _position(socket.query_params)
        following = await services.pool.streams.follow(caller.id, reference, execution_id, at, tail)
        return Conversation(services, socket, caller, following, execution_id)

    async def _deny(self, socket: WebSocket, answer: Response) -> None:
        """The answer to who is not let in: that of the same request without an upgrade."""
        scope = socket.scope
        if answer.status_code in REFUSED:
            await self._record(scope, answer.status_code)

        async def sending(message: Message) -> None:
            if message["type"] == "websocket.http.response.start":
                decorate(message, scope["state"]["request_id"], secure=scope.get("scheme") == "wss")
            await socket.send(message)

        await answer(scope, socket.receive, sending)


class Conversation:
    """One open socket."""

    def __init__(
        self,
        services: Services,
        socket: WebSocket,
        caller: Principal,
        following: streams.Following,
        execution_id: int,
    ) -> None:
        self._services = services
        self._socket = socket
        self._caller = caller
        self._following = following
        self._vm: str = socket.scope["path_params"]["vm_id"]
        self._execution_id = execution_id
        self._code = GOING_AWAY

    async def run(self) -> None:
        """Until the execution has ended, the other side leaves or the server ends."""
        typed, to_write = anyio.create_memory_object_stream[SocketMessage | bytes](WAITING_MESSAGES)
        async with aclosing(self._following), typed, to_write:
            async with anyio.create_task_group() as tasks:
                ended = tasks.cancel_scope.cancel
                tasks.start_soon(events.when_closing, self._services.closing, ended)
                tasks.start_soon(self._listen, typed, ended)
                tasks.start_soon(self._write_stdin, to_write)
                tasks.start_soon(self._while_allowed, ended)
                await self._tell()
                ended()
        try:
            await self._socket.close(self._code)
        except (RuntimeError, WebSocketDisconnect):
            pass  # the other side was faster

    # -- to the reader

    async def _tell(self) -> None:
        try:
            async for value in self._following:
                if isinstance(value, Piece):
                    data = streams.output_event(value).model_dump_json(exclude_none=True)
                    place = f"{value.stdout},{value.stderr}"
                    await self._socket.send_text(
                        f'{{"event":"{value.stream}","id":"{place}",{data.removeprefix("{")}'
                    )
                else:
                    data = answers.execution(value).model_dump_json()
                    await self._socket.send_text(f'{{"event":"exit","execution":{data}}}')
            self._code = DONE
        except errors.VMPoolError as error:
            await self._say("error", error)
            self._code = FAILED
        except WebSocketDisconnect:
            self._code = DONE

    async def _say(self, event: str, error: errors.VMPoolError) -> None:
        """What went wrong: `error` for the end of it all, `refused` for what the other side asked."""
        problem = problem_of(error, self._socket.scope["state"]["request_id"]).model_dump_json()
        await self._send(f'{{"event":"{event}","problem":{problem}}}')

    async def _send(self, text: str) -> None:
        try:
            await self._socket.send_text(text)
        except WebSocketDisconnect:
            return  # whoever listens hears of it

    async def _while_allowed(self, ended: events.Ended) -> None:
        header = self._socket.headers.get("authorization")
        try:
            while True:
                await anyio.sleep(events.HEARTBEAT_SECONDS)
                await self._services.authenticator.confirm(header)
        except errors.VMPoolError as error:
            await self._say("error", error)
            self._code = NOT_ALLOWED
            ended()

    # -- from the other side

    async def _listen(
        self, typed: MemoryObjectSendStream[SocketMessage | bytes], ended: events.Ended
    ) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                self._code = DONE
                ended()
                return
            try:
                self._caller.require(Scopes.EXECUTE)
                await self._obey(message, typed)
            except errors.VMPoolError as error:
                await self._say("refused", error)

    async def _obey(self, message: Message, typed: MemoryObjectSendStream[SocketMessage | bytes]) -> None:
        if message.get("bytes") is not None:
            await typed.send(message["bytes"])
            return
        try:
            asked = SocketMessage.model_validate_json(message["text"])
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, problem["loc"])) or "message"
            raise errors.InvalidRequest(field, problem["msg"]) from error
        if asked.stdin is not None or asked.close_stdin:
            await typed.send(asked)
        controls, asker = self._services.pool.controls, self._caller.id
        if asked.signal is not None:
            await controls.signal(asker, self._vm, self._execution_id, asked.number, tree=asked.tree)
        if asked.resize is not None:
            size = TerminalSize(asked.resize.columns, asked.resize.rows)
            await controls.resize(asker, self._vm, self._execution_id, size)
        if asked.cancel:
            await controls.cancel(asker, self._vm, self._execution_id)

    async def _write_stdin(self, to_write: MemoryObjectReceiveStream[SocketMessage | bytes]) -> None:
        async for one in to_write:
            data = one if isinstance(one, bytes) else (one.stdin or "").encode()
            close = not isinstance(one, bytes) and one.close_stdin
            try:
                position = await self._services.pool.controls.write_stdin(
                    self._caller.id, self._vm, self._execution_id, data, close=close, patience=None
                )
            except errors.VMPoolError as error:
                await self._say("refused", error)
            else:
                told = {"event": "stdin", "offset": position.offset, "closed": position.closed}
                await self._send(json.dumps(told))


def _position(query: QueryParams) -> tuple[Position, int | None]:
    """Where to begin, as the query says."""
    found: dict[str, int] = {}
    for name in ("stdout_offset", "stderr_offset", "tail"):
        text = query.get(name)
        if text is not None:
            if not re.fullmatch("[0-9]{1,19}", text) or int(text) > LARGEST_ID:
                raise errors.InvalidRequest(name, "must be a number of bytes")
            found[name] = int(text)
    return Position(found.get("stdout_offset", 0), found.get("stderr_offset", 0)), found.get("tail")
