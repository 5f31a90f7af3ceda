"""An execution that can be waited for, written to and ended."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Self

from pydantic import PrivateAttr

from vmpool.client.models import Execution
from vmpool.client.streaming import OutputPiece

if TYPE_CHECKING:
    from vmpool.client._sync.executions import Executions

WRITTEN_AT_ONCE = 1 << 20
"""Bytes of standard input in one request."""


class ExecutionHandle(Execution):
    """An execution with the connection it came over.

    Its fields are what the server last said; `refresh`, `wait` and `cancel` answer how it is then::

        service = vm.begin(command="python3 -m http.server 8000")
        for piece in service.stream():
            print(piece.stream, piece.text)
    """

    _executions: Executions = PrivateAttr()
    _written: int | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, executions: Executions, execution: Execution, *, written: int | None = None) -> Self:
        """`execution` as a handle.  written: bytes of its standard input, where that is known."""
        handle = cls.model_validate(execution.model_dump())
        handle._executions = executions
        handle._written = written
        return handle

    def refresh(self) -> Execution:
        """How it is now."""
        return self._executions.get(self.vm_id, self.id)

    def wait(self, timeout: float | None = None) -> Execution:
        """How it ended, once it has; after `timeout` seconds, how it is then."""
        return self._executions.wait_for(self.vm_id, self, timeout)

    def cancel(self, grace: float | None = None) -> Execution:
        """End it with everything it started: TERM, and KILL after `grace` seconds (default: 2)."""
        return self._executions.cancel(self.vm_id, self, grace)

    def signal(self, signal: int | str, *, tree: bool = False) -> None:
        """Send its main process a signal by number or name; with `tree` everything it started too."""
        self._executions.signal(self.vm_id, self, signal, tree=tree)

    def resize(self, columns: int, rows: int) -> None:
        """Tell its terminal how large it is shown."""
        self._executions.resize(self.vm_id, self, columns, rows)

    def write_stdin(self, data: str | bytes) -> None:
        """Write to its standard input, waiting while the program does not read.

        Nothing is written twice, also where a connection breaks or the server is another one in between.
        """
        rest = data.encode() if isinstance(data, str) else data
        if self._written is None:
            self._written = (self._executions.write_stdin(self.vm_id, self, b"")).offset
        while rest:
            at = self._written
            position = self._executions.write_stdin(self.vm_id, self, rest[:WRITTEN_AT_ONCE], offset=at)
            rest = rest[position.offset - at :]
            self._written = position.offset

    def close_stdin(self) -> None:
        """End of its standard input."""
        self._executions.write_stdin(self.vm_id, self, b"", close=True)

    def stream(self, *, tail: int | None = None) -> Generator[OutputPiece, None, None]:
        """What it has written and what it writes, until it ends; see `Executions.stream`."""
        return self._executions.stream(self.vm_id, self, tail=tail)
