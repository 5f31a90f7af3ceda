"""What is done with executions that run."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Unpack

import httpx

from vmpool.client import streaming
from vmpool.client._sync.connection import Connection
from vmpool.client._sync.execution import ExecutionHandle
from vmpool.client._sync.waiting import sleep
from vmpool.client.errors import ClientError
from vmpool.client.models import Execution, StdinPosition
from vmpool.client.options import BackgroundOptions, StreamOptions
from vmpool.client.sse import Decoder
from vmpool.client.streaming import OutputPiece, RunEvent
from vmpool.client.wire import GRACE, QUICK, Call, fresh_key, given, number_of, unexpected, vm_path


class Executions:
    """The calls on executions that go on, over a client's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run_events(
        self, vm: int | str, code: str | None = None, **options: Unpack[StreamOptions]
    ) -> Generator[RunEvent, None, None]:
        """Run `code` (or `command=`): the execution as it begins, its output as it comes, and how it ended.

        A connection that breaks after the beginning costs nothing: it goes on from where it was.  Leaving
        early leaves the program running.  Put `contextlib.closing` around it where you do.
        """
        reader = streaming.Reader()
        call = Call("POST", vm_path(vm, "execute"), given(code=code, **options))
        try:
            with self._connection.stream(call) as answer:
                decoder = Decoder()
                for chunk in answer.iter_bytes():
                    for event in decoder.feed(chunk):
                        found = reader.read(event)
                        if found is not None:
                            yield found
        except ClientError as error:
            if reader.begun is None or not streaming.passes(error):
                raise
        if reader.begun is None:
            raise unexpected(b"")
        if reader.end is None:
            with closing(self._rest(reader.begun.vm_id, reader.begun.id, reader)) as rest:
                for found in rest:
                    yield found

    def run(
        self,
        vm: int | str,
        code: str | None = None,
        *,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        **options: Unpack[StreamOptions],
    ) -> Execution:
        """Run `code` (or `command=`), hand on what it writes as it comes, and answer its result."""
        texts = streaming.Texts(on_stdout, on_stderr)
        end: Execution | None = None
        with closing(self.run_events(vm, code, **options)) as events:
            for found in events:
                if isinstance(found, Execution):
                    end = found
                else:
                    texts.take(found)
        texts.end()
        assert end is not None
        return end

    def begin(
        self, vm: int | str, code: str | None = None, **options: Unpack[BackgroundOptions]
    ) -> ExecutionHandle:
        """Begin to run `code` (or `command=`) in the background; it goes on whoever leaves."""
        body = given(code=code, background=True, **options)
        call = Call("POST", vm_path(vm, "execute"), body, idempotency_key=fresh_key())
        return ExecutionHandle.of(self, self._connection.one(Execution, call), written=0)

    def get(self, vm: int | str, execution_id: int) -> Execution:
        """One execution; its `state` says whether it still runs."""
        path = vm_path(vm, "executions", str(execution_id))
        return self._connection.one(Execution, Call("GET", path))

    def attach(self, vm: int | str, execution_id: int) -> ExecutionHandle:
        """One execution, to be waited for, read or ended."""
        return ExecutionHandle.of(self, self.get(vm, execution_id))

    def stream(
        self,
        vm: int | str,
        execution: Execution | int,
        *,
        stdout_offset: int = 0,
        stderr_offset: int = 0,
        tail: int | None = None,
    ) -> Generator[OutputPiece, None, None]:
        """What an execution has written and what it writes, until it has ended.

        stdout_offset, stderr_offset: bytes to leave out.  tail: begin so many bytes before the end of each
        instead; 0: from now on.  A stream that is cut goes on from where it was.  Put `contextlib.closing`
        around it where you leave the loop early.
        """
        reader = streaming.Reader(stdout_offset, stderr_offset, tail)
        with closing(self._rest(vm, number_of(execution), reader)) as events:
            for found in events:
                if isinstance(found, OutputPiece):
                    yield found

    def wait_for(self, vm: int | str, execution: Execution | int, timeout: float | None = None) -> Execution:
        """How an execution ended, once it has; after `timeout` seconds, how it is then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        path = vm_path(vm, "executions", str(number_of(execution)), "wait")
        while True:
            left = QUICK if deadline is None else max(0.0, min(QUICK, deadline - time.monotonic()))
            call = Call("GET", path, params={"timeout": str(left)}, wait=left + GRACE)
            found = self._connection.one(Execution, call)
            if found.state != "running" or (deadline is not None and time.monotonic() >= deadline):
                return found

    def cancel(self, vm: int | str, execution: Execution | int, grace: float | None = None) -> Execution:
        """End an execution with everything it started: TERM, and KILL after `grace` seconds (default: 2)."""
        path = vm_path(vm, "executions", str(number_of(execution)), "cancel")
        wait = (grace or 0) + QUICK
        return self._connection.one(
            Execution, Call("POST", path, given(grace=grace), wait=wait, idempotent=True)
        )

    def signal(
        self, vm: int | str, execution: Execution | int, signal: int | str, *, tree: bool = False
    ) -> None:
        """Send an execution's main process a signal by number or name; with `tree` all it started too."""
        path = vm_path(vm, "executions", str(number_of(execution)), "signal")
        self._connection.send(Call("POST", path, {"signal": signal, "tree": tree}))

    def resize(self, vm: int | str, execution: Execution | int, columns: int, rows: int) -> None:
        """Tell an execution's terminal how large it is shown."""
        path = vm_path(vm, "executions", str(number_of(execution)), "resize")
        self._connection.send(Call("POST", path, {"columns": columns, "rows": rows}, idempotent=True))

    def write_stdin(
        self,
        vm: int | str,
        execution: Execution | int,
        data: str | bytes,
        *,
        offset: int | None = None,
        close: bool = False,
    ) -> StdinPosition:
        """Write to an execution's standard input; how far it came, which may be less than `data`.

        offset: where `data` begins in the whole input: what was written before is left out.
        """
        path = vm_path(vm, "executions", str(number_of(execution)), "stdin")
        raw = data.encode() if isinstance(data, str) else data
        body = given(base64=b64encode(raw).decode(), offset=offset, close=close)
        call = Call("POST", path, body, wait=QUICK + GRACE, idempotent=offset is not None or not raw)
        return self._connection.one(StdinPosition, call)

    # --- inside ---

    def _rest(
        self, vm: int | str, execution_id: int, reader: streaming.Reader
    ) -> Generator[RunEvent, None, None]:
        """Events to the end, from where the reader is; asked for again where they are cut."""
        path = vm_path(vm, "executions", str(execution_id), "stream")
        deadline = time.monotonic() + streaming.PATIENCE
        while True:
            try:
                with self._connection.stream(Call("GET", path, params=reader.params)) as answer:
                    decoder = Decoder()
                    for chunk in answer.iter_bytes():
                        for event in decoder.feed(chunk):
                            found = reader.read(event)
                            if found is not None:
                                deadline = time.monotonic() + streaming.PATIENCE
                                yield found
                    if reader.end is not None:
                        return
                    if time.monotonic() > deadline:
                        raise httpx.RemoteProtocolError("the answer ended before the execution did")
            except ClientError as error:
                if not streaming.passes(error) or time.monotonic() > deadline:
                    raise
            sleep(streaming.PAUSE)
