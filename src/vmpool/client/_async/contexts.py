"""Contexts: kernels in VMs that remember from one cell to the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Self

from pydantic import PrivateAttr

from vmpool.client._async.connection import AsyncConnection
from vmpool.client.errors import ContextNotFound
from vmpool.client.models import CellEvent, CellOutput, CellResult, CodeContext
from vmpool.client.sse import Decoder
from vmpool.client.wire import GRACE, MACHINE, Call, data_of, fresh_key, given, unexpected, value, vm_path

LONGEST_CELL = 600.0
"""Seconds a cell may take when the request names no timeout: the specification's MAX_EXECUTION_TIME."""


class AsyncContexts:
    """The calls on contexts, over a client's connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(
        self,
        vm: int | str,
        language: str | None = None,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> AsyncContextHandle:
        """A new kernel of python, nodejs or bash (default: the VM's language), which takes cells."""
        body = given(language=language, cwd=cwd, env=env)
        call = Call("POST", _path(vm), body, idempotency_key=fresh_key(), wait=MACHINE)
        return AsyncContextHandle.of(self, await self._connection.one(CodeContext, call))

    async def list(self, vm: int | str) -> list[AsyncContextHandle]:
        """A VM's contexts, newest first, dead ones included."""
        return [
            AsyncContextHandle.of(self, one)
            for one in await self._connection.all(CodeContext, _path(vm), None)
        ]

    async def get(self, vm: int | str, context: int) -> AsyncContextHandle:
        """One of them, as it is now."""
        found = await self._connection.one(CodeContext, Call("GET", _path(vm, context)))
        return AsyncContextHandle.of(self, found)

    async def run(
        self,
        vm: int | str,
        context: int,
        code: str,
        *,
        timeout: float | None = None,
        on_output: Callable[[CellOutput], None] | None = None,
    ) -> CellResult:
        """Run a cell and answer its result, with all it has put out.

        A cell that raises is a result.  on_output: hears each output as it comes.
        """
        if on_output is None:
            call = Call(
                "POST",
                _path(vm, context, "execute"),
                given(code=code, timeout=timeout),
                wait=(timeout or LONGEST_CELL) * 2 + GRACE,  # its turn comes, and then it runs
            )
            return await self._connection.one(CellResult, call)
        outputs: list[CellOutput] = []
        end: CellResult | None = None
        async with aclosing(self.events(vm, context, code, timeout=timeout)) as events:
            async for found in events:
                if isinstance(found, CellResult):
                    end = found
                else:
                    outputs.append(found)
                    on_output(found)
        if end is None:
            raise unexpected(b"")
        return end.model_copy(update={"outputs": outputs})

    async def events(
        self, vm: int | str, context: int, code: str, *, timeout: float | None = None
    ) -> AsyncGenerator[CellEvent, None]:
        """Run a cell: its outputs as they come, and how it ended.

        Put `contextlib.aclosing` around it where you leave early, which leaves the cell running.
        """
        call = Call("POST", _path(vm, context, "execute"), given(code=code, timeout=timeout), wait=None)
        async with self._connection.stream(call) as answer:
            decoder = Decoder()
            async for chunk in answer.aiter_bytes():
                for event in decoder.feed(chunk):
                    data = data_of(event)
                    if event.name == "output":
                        yield value(CellOutput, data)
                    elif event.name == "end":
                        yield value(CellResult, data)

    async def interrupt(self, vm: int | str, context: int) -> CodeContext:
        """Interrupt the cell that runs, as Ctrl-C does; what the context remembers stays."""
        return await self._connection.one(CodeContext, Call("POST", _path(vm, context, "interrupt")))

    async def restart(self, vm: int | str, context: int) -> AsyncContextHandle:
        """A new kernel, which begins with nothing, in place of the one that is there or was."""
        call = Call("POST", _path(vm, context, "restart"), wait=MACHINE)
        return AsyncContextHandle.of(self, await self._connection.one(CodeContext, call))

    async def delete(self, vm: int | str, context: int) -> None:
        """End it with everything it has started."""
        await self._connection.send(Call("DELETE", _path(vm, context), wait=MACHINE))


class AsyncContextHandle(CodeContext):
    """A context with the connection it came over.

    Its fields are what the server last said.  As a context manager it deletes the context at the end::

        async with await vm.context() as context:
            await context.run("x = 41")
            print((await context.run("x + 1")).text)
    """

    _contexts: AsyncContexts = PrivateAttr()

    @classmethod
    def of(cls, contexts: AsyncContexts, context: CodeContext) -> Self:
        """`context` as a handle."""
        handle = cls.model_validate(context.model_dump())
        handle._contexts = contexts
        return handle

    async def run(
        self,
        code: str,
        *,
        timeout: float | None = None,
        on_output: Callable[[CellOutput], None] | None = None,
    ) -> CellResult:
        """Run a cell and answer its result; see `AsyncContexts.run`."""
        return await self._contexts.run(self.vm_id, self.id, code, timeout=timeout, on_output=on_output)

    def events(self, code: str, *, timeout: float | None = None) -> AsyncGenerator[CellEvent, None]:
        """Run a cell: its outputs as they come, and how it ended; see `AsyncContexts.events`."""
        return self._contexts.events(self.vm_id, self.id, code, timeout=timeout)

    async def refresh(self) -> AsyncContextHandle:
        """The same context as it is now."""
        return await self._contexts.get(self.vm_id, self.id)

    async def interrupt(self) -> CodeContext:
        """Interrupt the cell that runs."""
        return await self._contexts.interrupt(self.vm_id, self.id)

    async def restart(self) -> AsyncContextHandle:
        """Begin again with nothing."""
        return await self._contexts.restart(self.vm_id, self.id)

    async def delete(self) -> None:
        """End it for good."""
        await self._contexts.delete(self.vm_id, self.id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.delete()
        except ContextNotFound:
            pass


def _path(vm: int | str, *rest: int | str) -> str:
    return vm_path(vm, "contexts", *map(str, rest))
