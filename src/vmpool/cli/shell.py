"""The command `shell`: a terminal in a VM, as if one sat before it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render, results, streams
from vmpool.cli.arguments import VMArgument
from vmpool.cli.escapes import Escapes, Wish
from vmpool.cli.status import NOT_DONE

if TYPE_CHECKING:
    from vmpool.client import Client, ExecutionHandle
    from vmpool.client.options import RunOptions

SHELL = "if command -v bash >/dev/null; then exec bash -i; else exec sh -i; fi"
PIPED_SHELL = "if command -v bash >/dev/null; then exec bash; else exec sh; fi"
SHOWN_AGAIN = 64 << 10
"""Bytes of what was written before that are shown to who comes back."""
HELP = "\r\n~.  end it    ~d  leave it running    ~~  a ~    ~?  this\r\n"


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command(context_settings={"ignore_unknown_options": True})(shell)


def shell(
    vm: VMArgument,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]...", help="Run this in place of a shell.", show_default=False),
    ] = None,
    attach: Annotated[
        int | None,
        typer.Option(metavar="EXECUTION", help="Come back to the terminal of this execution."),
    ] = None,
    linger: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long it waits for you when the connection is lost."),
    ] = 600,
) -> None:
    """Open a shell in a VM, with a terminal; ends with the shell's own exit status.

    At the beginning of a line, [bold]~.[/bold] ends it, [bold]~d[/bold] leaves it running, and
    [bold]~?[/bold] lists the rest. Where standard input is no terminal it is passed on as it is.

    \b
    vm shell test-vm
    vm shell test-vm -- top
    vm shell test-vm --attach 17
    vm shell test-vm < setup.sh
    """
    from vmpool.client import Client

    with Client() as client:
        if attach is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
            options: RunOptions = {"command": shlex.join(command) if command else PIPED_SHELL}
            result = streams.run(client, vm, None, options, stdin=True)
            results.explain(result)
            raise typer.Exit(results.exit_status(result))
        raise typer.Exit(_in_terminal(client, vm, command, attach, linger))


def _in_terminal(
    client: Client, vm: str, command: list[str] | None, attach: int | None, linger: float
) -> int:
    columns, rows = _size()
    if attach is None:
        term = os.environ.get("TERM")
        handle = client.executions.begin(
            vm,
            command=shlex.join(command) if command else SHELL,
            env={"TERM": term} if term else None,
            terminal={"columns": columns, "rows": rows},
            linger=linger,
        )
    else:
        handle = client.executions.attach(vm, attach)
        if not handle.terminal:
            render.note(f"vm: execution {attach} has no terminal; 'vm attach {vm} {attach}' shows its output")
            return NOT_DONE
        if handle.state == "running":
            handle.resize(columns, rows)
    session = Session(handle)
    with raw_mode(), resized(handle):
        session.show(None if attach is None else SHOWN_AGAIN)
    if session.wish is Wish.DETACH:
        render.note(f"vm: it goes on; 'vm shell {vm} --attach {handle.id}' comes back to it")
        return 0
    result = handle.wait()
    if session.wish is None:
        results.explain(result)
    return results.exit_status(result)


class Session:
    """A terminal in a VM and the one before the user.  wish: what the user has asked to leave it by."""

    def __init__(self, handle: ExecutionHandle) -> None:
        self._handle = handle
        self.wish: Wish | None = None
        self._over = threading.Event()

    def show(self, tail: int | None) -> None:
        """Until it ends, or the user wishes to leave it.  tail: bytes of before; None: all."""
        for work in (self._type, lambda: self._show(tail)):
            threading.Thread(target=work, daemon=True).start()
        # A signal's handler runs in this thread, and only while it does not wait for good.
        while not self._over.wait(1.0):
            pass

    def _show(self, tail: int | None) -> None:
        from vmpool.client import ClientError

        try:
            with contextlib.closing(self._handle.stream(tail=tail)) as pieces:
                for piece in pieces:
                    if self._over.is_set():
                        return
                    streams.show_piece(piece)
        except ClientError as error:
            render.note(f"\r\nvm: {error}\r")
        finally:
            self._over.set()

    def _type(self) -> None:
        from vmpool.client import ClientError

        escapes = Escapes()
        with contextlib.suppress(ClientError):  # it has ended while somebody still types
            while typed := os.read(0, streams.READ_AT_ONCE):
                for part in escapes.feed(typed):
                    if isinstance(part, bytes):
                        self._handle.write_stdin(part)
                    elif self._obey(part):
                        return

    def _obey(self, wish: Wish) -> bool:
        """Whether it is left by this."""
        if wish is Wish.HELP:
            results.write(False, HELP)
            return False
        self.wish = wish
        if wish is Wish.END:
            self._handle.cancel()
        self._over.set()
        return True


def _size() -> tuple[int, int]:
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    return max(1, columns), max(1, rows)


@contextlib.contextmanager
def raw_mode() -> Iterator[None]:
    """Every key goes to the VM as it is, Ctrl-C too; afterwards the terminal is as it was."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # what was typed meanwhile is for the VM too
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def resized(handle: ExecutionHandle) -> Iterator[None]:
    """While the block lasts, the terminal in the VM is told of every new size of this one."""
    from vmpool.client import ClientError

    changed = threading.Event()

    def tell() -> None:
        while changed.wait():
            changed.clear()
            with contextlib.suppress(ClientError):  # it has just ended
                handle.resize(*_size())

    before = signal.signal(signal.SIGWINCH, lambda number, frame: changed.set())
    threading.Thread(target=tell, daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
