"""What came of an execution, shown where the program wrote it."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from vmpool.cli import render
from vmpool.cli.status import NOT_DONE

if TYPE_CHECKING:
    from vmpool.client import Client
    from vmpool.client.models import Execution, Stream


def replay(result: Execution, client: Client | None = None) -> None:
    """What the program wrote, where it wrote it, and a note for what its exit status does not tell.

    client: to fetch what the result has not whole; without one, its text is all that is shown.
    """
    whole = [_show_whole(client, result, stream) for stream in ("stdout", "stderr")]
    explain(result, whole=all(whole))


def explain(result: Execution, *, whole: bool = True) -> None:
    """A note for what its exit status does not tell.  whole: all that it wrote was shown."""
    for wrong, what in (
        (result.timed_out, f"ended at its time limit, after {result.execution_time or 0:.1f} s"),
        (result.oom_killed, "ended for want of memory; a VM with a larger memory limit would help"),
        (result.truncated and not whole, f"more was written: vm output {result.vm_id} {result.id}"),
        (result.dropped > 0, f"{result.dropped} bytes of its output were not kept"),
        (result.failure is not None, f"ended: {result.failure}"),
    ):
        if wrong:
            render.note(f"vm: {what}")


def _show_whole(client: Client | None, result: Execution, stream: Stream) -> bool:
    """One stream of a result, every byte where that is to be had; whether it was."""
    text, size = (
        (result.output, result.output_bytes) if stream == "stdout" else (result.error, result.error_bytes)
    )
    whole = size is None or size == len(text.encode())
    if client is None or whole or result.dropped:
        write(stream == "stderr", text)
        return whole
    with contextlib.closing(client.output(result.vm_id, result, stream)) as pieces:
        for piece in pieces:
            write_bytes(stream == "stderr", piece)
    return True


def exit_status(result: Execution) -> int:
    """The program's own, where there is one."""
    return NOT_DONE if result.exit_code is None else result.exit_code


def write(to_stderr: bool, text: str) -> None:
    """`text` as UTF-8, whatever this process's own encoding is."""
    write_bytes(to_stderr, text.encode())


def write_bytes(to_stderr: bool, data: bytes) -> None:
    """The bytes as they are."""
    stream = sys.stderr if to_stderr else sys.stdout
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()
