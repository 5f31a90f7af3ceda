"""Contexts: kernels in VMs that remember from one cell to the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from types import TracebackType
from typing import Self

from pydantic import PrivateAttr

from vmpool.client._sync.connection import Connection
from vmpool.client.errors import ContextNotFound
from vmpool.client.models import CellEvent, CellOutput, CellResult, CodeContext
from vmpool.client.sse import Decoder
from vmpool.client.wire import GRACE, MACHINE, Call, data_of, fresh_key, given, unexpected, value, vm_path

LONGEST_CELL = 600.0
"""Seconds a cell may take when the request names no timeout: the specification's MAX_EXECUTION_TIME."""


class Contexts:
    """The calls on contexts, over a client's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        vm: int | str,
        language: str | None = None,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> ContextHandle:
        """A new kernel of python, nodejs or bash (default: the VM's language), which takes cells."""
        body = given(language=language, cwd=cwd, env=env)
        call = Call("POST", _path(vm), body, idempotency_key=fresh_key(), wait=MACHINE)
        return ContextHandle.of(self, self._connection.one(CodeContext, call))

    def list(self, vm: int | str) -> list[ContextHandle]:
        """A VM's contexts, newest first, dead ones included."""
        return [ContextHandle.of(self, one) for one in self._connection.all(CodeContext, _path(vm), None)]

    def get(self, vm: int | str, context: int) -> ContextHandle:
        """One of them, as it is now."""
        found = self._connection.one(CodeContext, Call("GET", _path(vm, context)))
        return ContextHandle.of(self, found)

    def run(
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
            return self._connection.one(CellResult, call)
        outputs: list[CellOutput] = []
        end: CellResult | None = None
        with closing(self.events(vm, context, code, timeout=timeout)) as events:
            for found in events:
                if isinstance(found, CellResult):
                    end = found
                else:
                    outputs.append(found)
                    on_output(found)
        if end is None:
            raise unexpected(b"")
        return end.model_copy(update={"outputs": outputs})

    def events(
        self, vm: int | str, context: int, code: str, *, timeout: float | None = None
    ) -> Generator[CellEvent, None, None]:
        """Run a cell: its outputs as they come, and how it ended.

        Put `contextlib.closing` around it where you leave early, which leaves the cell running.
        """
        call = Call("POST", _path(vm, context, "execute"), given(code=code, timeout=timeout), wait=None)
        with self._connection.stream(call) as answer:
            decoder = Decoder()
            for chunk in answer.iter_bytes():
                for event in decoder.feed(chunk):
                    data = data_of(event)
                    if event.name == "output":
                        yield value(CellOutput, data)
                    elif event.name == "end":
                        yield value(CellResult, data)

    def interrupt(self, vm: int | str, context: int) -> CodeContext:
        """Interrupt the cell that runs, as Ctrl-C does; what the context remembers stays."""
        return self._connection.one(CodeContext, Call("POST", _path(vm, context, "interrupt")))

    def restart(self, vm: int | str, context: int) -> ContextHandle:
        """A new kernel, which begins with nothing, in place of the one that is there or was."""
        call = Call("POST", _path(vm, context, "restart"), wait=MACHINE)
        return ContextHandle.of(self, self._connection.one(CodeContext, call))

    def delete(self, vm: int | str, context: int) -> None:
        """End it with everything it has started."""
        self._connection.send(Call("DELETE", _path(vm, context), wait=MACHINE))


class ContextHandle(CodeContext):
    """A context with the connection it came over.

    Its fields are what the server last said.  As a context manager it deletes the context at the end::

        with vm.context() as context:
            context.run("x = 41")
            print((context.run("x + 1")).text)
    """

    _contexts: Contexts = PrivateAttr()

    @classmethod
    def of(cls, contexts: Contexts, context: CodeContext) -> Self:
        """`context` as a handle."""
        handle = cls.model_validate(context.model_dump())
        handle._contexts = contexts
        return handle

    def run(
        self,
        code: str,
        *,
        timeout: float | None = None,
        on_output: Callable[[CellOutput], None] | None = None,
    ) -> CellResult:
        """Run a cell and answer its result; see `Contexts.run`."""
        return self._contexts.run(self.vm_id, self.id, code, timeout=timeout, on_output=on_output)

    def events(self, code: str, *, timeout: float | None = None) -> Generator[CellEvent, None, None]:
        """Run a cell: its outputs as they come, and how it ended; see `Contexts.events`."""
        return self._contexts.events(self.vm_id, self.id, code, timeout=timeout)

    def refresh(self) -> ContextHandle:
        """The same context as it is now."""
        return self._contexts.get(self.vm_id, self.id)

    def interrupt(self) -> CodeContext:
        """Interrupt the cell that runs."""
        return self._contexts.interrupt(self.vm_id, self.id)

    def restart(self) -> ContextHandle:
        """Begin again with nothing."""
        return self._contexts.restart(self.vm_id, self.id)

    def delete(self) -> None:
        """End it for good."""
        self._contexts.delete(self.vm_id, self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.delete()
        except ContextNotFound:
            pass


def _path(vm: int | str, *rest: int | str) -> str:
    return vm_path(vm, "contexts", *map(str, rest))
