"""The command group `context`: kernels in a VM that remember from one cell to the next."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render, results
from vmpool.cli.arguments import EnvOption, JSONOption, QuietOption, TimeoutOption, VMArgument, pairs
from vmpool.cli.status import NOT_DONE

if TYPE_CHECKING:
    from vmpool.client.models import CellOutput, CellResult

app = typer.Typer(
    no_args_is_help=True, help="Kernels that remember: what one cell has set the next one knows."
)

ContextArgument = Annotated[int, typer.Argument(metavar="CONTEXT", help="The context's id.")]
ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/svg+xml": "svg",
    "text/html": "html",
    "application/json": "json",
    "text/markdown": "md",
    "text/latex": "tex",
}
"""File name endings of the forms that a terminal does not show."""
BINARY = frozenset({"image/png", "image/jpeg"})


@app.command()
def create(
    vm: VMArgument,
    language: Annotated[
        str | None, typer.Argument(metavar="LANGUAGE", help="python, nodejs or bash. Default: the VM's own.")
    ] = None,
    cwd: Annotated[str | None, typer.Option(metavar="PATH", help="Where it begins.")] = None,
    env: EnvOption = None,
    as_json: JSONOption = False,
) -> None:
    """Start a kernel and print the context's id.

    \b
    context=$(vm context create test-vm python)
    """
    from vmpool.client import Client

    with Client() as client:
        made = client.contexts.create(vm, language, cwd=cwd, env=pairs(env, "--env"))
    if as_json:
        render.show_json(made)
    else:
        render.say(str(made.id))


@app.command(name="list")
def list_contexts(vm: VMArgument, quiet: QuietOption = False, as_json: JSONOption = False) -> None:
    """List a VM's contexts, newest first."""
    from vmpool.client import Client

    with Client() as client:
        found = client.contexts.list(vm)
    if as_json:
        render.show_json(found)
    elif quiet:
        for one in found:
            render.say(str(one.id))
    else:
        render.table(
            ("id", "language", "state", "cells", "waiting", "created", "why it is dead"),
            (
                (
                    one.id,
                    one.language,
                    one.state,
                    one.cells,
                    one.waiting,
                    render.ago(one.created_at),
                    one.failure,
                )
                for one in found
            ),
        )


@app.command()
def execute(
    vm: VMArgument,
    context: ContextArgument,
    code: Annotated[
        str | None, typer.Argument(metavar="CODE", help="The cell. Default: standard input.")
    ] = None,
    timeout: TimeoutOption = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY", help="Write pictures and other rich results there, and print their paths."
        ),
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Run a cell and show what it puts out as it comes; exit status 1 if it does not end well.

    For bash the exit status is the cell's own. Ctrl-C interrupts the cell; what the context remembers stays.

    \b
    vm context execute test-vm 1 'x = 41'
    vm context execute test-vm 1 'x + 1'
    vm context execute test-vm 1 --save charts < plot.py
    """
    from vmpool.client import CellResult, Client

    text = sys.stdin.read() if code is None else code
    shown = _Shown(save)
    with Client() as client:
        if as_json:
            result = client.contexts.run(vm, context, text, timeout=timeout)
            render.show_json(result)
        else:
            end: CellResult | None = None
            try:
                with contextlib.closing(client.contexts.events(vm, context, text, timeout=timeout)) as events:
                    for found in events:
                        if isinstance(found, CellResult):
                            end = found
                        else:
                            shown.output(found)
            except SystemExit:  # of a signal
                client.contexts.interrupt(vm, context)
                render.note("vm: the cell was interrupted")
                raise
            if end is None:
                render.note("vm: the server has ended; the cell goes on, and what it puts out is lost")
                raise typer.Exit(NOT_DONE)
            result = end
            shown.end(result)
    raise typer.Exit(shown.status if shown.status is not None else 0 if result.ok else 1)


@app.command()
def interrupt(vm: VMArgument, context: ContextArgument) -> None:
    """Interrupt the cell that runs; what the context remembers stays."""
    from vmpool.client import Client

    with Client() as client:
        client.contexts.interrupt(vm, context)


@app.command()
def restart(vm: VMArgument, context: ContextArgument) -> None:
    """Begin again with nothing, dead or alive."""
    from vmpool.client import Client

    with Client() as client:
        client.contexts.restart(vm, context)


@app.command()
def delete(vm: VMArgument, context: ContextArgument) -> None:
    """End a context with everything it has started."""
    from vmpool.client import Client

    with Client() as client:
        client.contexts.delete(vm, context)


class _Shown:
    """What a cell puts out, where a terminal shows it.  status: the exit status of a cell of bash."""

    def __init__(self, save: Path | None) -> None:
        self.status: int | None = None
        self._save = save

    def output(self, output: CellOutput) -> None:
        """One output."""
        match output.type:
            case "stdout" | "stderr":
                results.write(output.type == "stderr", output.text or "")
            case "error" if output.name == "ExitStatus" and (output.value or "").isdecimal():
                self.status = int(output.value or 1)
            case "error":
                results.write(
                    True, (output.traceback or f"{output.name}: {output.value}").rstrip("\n") + "\n"
                )
            case _:
                self._value(output)

    def end(self, result: CellResult) -> None:
        """A note for what its exit status does not tell."""
        if result.truncated:
            render.note("vm: it has put out more than is kept of one cell")
        if result.state in ("interrupted", "timed_out"):
            render.note(f"vm: the cell was {result.state.replace('timed_out', 'ended at its time limit')}")
        if result.state == "died":
            render.note(
                "vm: the kernel has ended; 'vm context list' says why, 'vm context restart' begins anew"
            )

    def _value(self, output: CellOutput) -> None:
        data = output.data or {}
        text = data.get("text/plain")
        saved = self._saved(data)
        if isinstance(text, str) and not saved:
            results.write(False, text + "\n")
        for path in saved:
            results.write(False, f"{path}\n")

    def _saved(self, data: dict[str, object]) -> list[Path]:
        if self._save is None:
            return []
        found = []
        for mime, form in data.items():
            ending = ENDINGS.get(mime)
            if ending is None:
                continue
            self._save.mkdir(parents=True, exist_ok=True)
            path = self._free(ending)
            if mime in BINARY:
                path.write_bytes(b64decode(str(form)))
            else:
                path.write_text(form if isinstance(form, str) else json.dumps(form), encoding="utf-8")
            found.append(path)
        return found

    def _free(self, ending: str) -> Path:
        """A name that no file there has."""
        assert self._save is not None
        taken = [
            int(match[1])
            for path in self._save.iterdir()
            if (match := re.fullmatch(r"out-(\d+)\.\w+", path.name))
        ]
        return self._save / f"out-{max(taken, default=0) + 1}.{ending}"
