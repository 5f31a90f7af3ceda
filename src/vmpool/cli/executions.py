"""Commands over executions that run: executions, attach, wait, cancel, signal."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render, results, streams
from vmpool.cli.arguments import JSONOption, QuietOption, VMArgument
from vmpool.cli.status import NOT_DONE

if TYPE_CHECKING:
    from vmpool.client.models import Execution

ExecutionArgument = Annotated[int, typer.Argument(metavar="EXECUTION", help="The execution's id.")]
LONGEST_LINE = 40
"""Characters of an execution's code in a list."""


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(executions)
    app.command()(attach)
    app.command()(wait)
    app.command()(cancel)
    app.command(name="signal")(send_signal)


def executions(
    vm: VMArgument,
    state: Annotated[str | None, typer.Option(help="Only those running, finished or lost.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most N.")] = 20,
    quiet: QuietOption = False,
    as_json: JSONOption = False,
) -> None:
    """List a VM's executions, newest first.

    \b
    vm executions test-vm --state running
    """
    from vmpool.client import Client

    with Client() as client:
        found = client.list_executions(vm, limit, state)
    if as_json:
        render.show_json(found)
    elif quiet:
        for one in found:
            render.say(str(one.id))
    else:
        render.table(
            ("id", "state", "exit", "background", "began", "took", "code"),
            (
                (
                    one.id,
                    one.state,
                    one.exit_code,
                    "yes" if one.background else None,
                    render.ago(one.executed_at),
                    render.duration(one.execution_time),
                    _line(one),
                )
                for one in found
            ),
        )


def attach(
    vm: VMArgument,
    execution: ExecutionArgument,
    tail: Annotated[
        int | None,
        typer.Option(min=0, metavar="BYTES", help="Begin so many bytes before the end. Default: all of it."),
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Pass standard input to the program.")] = False,
) -> None:
    """Show what an execution writes until it ends; ends with the program's own exit status.

    Ctrl-C ends this command and leaves the program running.

    \b
    vm attach test-vm 17
    vm attach test-vm 17 --tail 0
    """
    from vmpool.client import Client

    with Client() as client:
        handle = client.executions.attach(vm, execution)
        if stdin:
            streams.pass_on(handle)
        try:
            with contextlib.closing(handle.stream(tail=tail)) as pieces:
                streams.show(pieces)
        except SystemExit:  # of a signal
            render.note(f"vm: the program goes on; 'vm cancel {vm} {execution}' ends it")
            raise
        result = handle.wait()
        results.explain(result)
    raise typer.Exit(results.exit_status(result))


def wait(
    vm: VMArgument,
    execution: ExecutionArgument,
    timeout: Annotated[
        float | None, typer.Option("--timeout", "-t", min=0, metavar="SECONDS", help="Wait no longer.")
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Wait until an execution has ended; ends with the program's own exit status, or 125 if it still runs.

    \b
    vm wait test-vm 17 && vm output test-vm 17
    """
    from vmpool.client import Client

    with Client() as client:
        result = client.executions.wait_for(vm, execution, timeout)
    if as_json:
        render.show_json(result)
    elif result.state == "running":
        render.note(f"vm: execution {execution} still runs")
    else:
        results.explain(result)
    raise typer.Exit(NOT_DONE if result.state == "running" else results.exit_status(result))


def cancel(
    vm: VMArgument,
    execution: ExecutionArgument,
    grace: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Between TERM and KILL; 0: KILL at once. Default: 2."),
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """End an execution with everything it started.

    \b
    vm cancel test-vm 17
    """
    from vmpool.client import Client

    with Client() as client:
        result = client.executions.cancel(vm, execution, grace)
    if as_json:
        render.show_json(result)
    else:
        render.say(f"execution {result.id} ended with {result.exit_code}")


def send_signal(
    vm: VMArgument,
    execution: ExecutionArgument,
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="A name such as HUP, or a number.")],
    tree: Annotated[bool, typer.Option("--tree", help="To everything it started too.")] = False,
) -> None:
    """Send an execution a signal.

    \b
    vm signal test-vm 17 HUP
    """
    from vmpool.client import Client

    with Client() as client:
        client.executions.signal(vm, execution, int(signal) if signal.isdecimal() else signal, tree=tree)


def _line(one: Execution) -> str:
    """The beginning of its code, on one line."""
    line = " ".join(one.code.split())
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 3] + "..."
