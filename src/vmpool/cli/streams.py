"""Output shown as it comes, and standard input passed on as it is typed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vmpool.cli import render, results

if TYPE_CHECKING:
    from vmpool.client import Client, ExecutionHandle, OutputPiece
    from vmpool.client.models import Execution
    from vmpool.client.options import RunOptions

READ_AT_ONCE = 64 << 10


def run(client: Client, vm: str, code: str | None, options: RunOptions, *, stdin: bool) -> Execution:
    """Run it and show what it writes; a signal to this command ends the program.

    stdin: pass this command's own on while the program runs.
    """
    from vmpool.client import ExecutionHandle, OutputPiece

    begun: ExecutionHandle | None = None
    end: Execution | None = None
    try:
        with contextlib.closing(
            client.executions.run_events(vm, code, stdin_open=stdin or None, **options)
        ) as events:
            for found in events:
                if isinstance(found, OutputPiece):
                    show_piece(found)
                elif begun is None:
                    begun = ExecutionHandle.of(client.executions, found, written=0)
                    if stdin:
                        pass_on(begun)
                else:
                    end = found
    except SystemExit:  # of a signal
        if begun is not None:
            begun.cancel()
            render.note("vm: the program was ended")
        raise
    assert end is not None
    return end


def show(pieces: Iterable[OutputPiece]) -> None:
    """Each where the program wrote it."""
    for piece in pieces:
        show_piece(piece)


def show_piece(piece: OutputPiece) -> None:
    """One piece, with a note for what is missing before it."""
    if piece.skipped:
        render.note(f"vm: {piece.skipped} bytes were not kept")
    results.write_bytes(piece.stream == "stderr", piece.data)


def pass_on(execution: ExecutionHandle) -> None:
    """Begin to write what comes on standard input to the program; its end ends the program's."""
    from vmpool.client import ClientError

    def pump() -> None:
        # The program may end, and this command with it, while somebody still types.
        with contextlib.suppress(ClientError, RuntimeError):
            # Not `sys.stdin`: a thread that waits in it cannot be left behind at the end.
            while data := os.read(0, READ_AT_ONCE):
                execution.write_stdin(data)
            execution.close_stdin()

    threading.Thread(target=pump, name="standard input", daemon=True).start()
