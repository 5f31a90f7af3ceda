"""The command that shows what changed, and what changes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import vm_names

if TYPE_CHECKING:
    from vmpool.client import Client, Event


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(events)


def events(
    vm: Annotated[
        str | None,
        typer.Option("--vm", metavar="ID", help="Of this VM only.", autocompletion=vm_names),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Only these, as in vm.stopped, or all of vm, execution, snapshot; may be repeated.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-F", help="Show what happens from now on; Ctrl-C ends.")
    ] = False,
    after: Annotated[
        int | None,
        typer.Option(
            "--after", metavar="NUMBER", min=0, help="Follow on from this event; 0: from the oldest kept."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="Events at most.", min=1)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show what changed of your VMs, executions and snapshots, oldest first; or follow what changes.

    \b
    vm events
    vm events --vm test-vm --type execution
    vm events --follow
    vm events --after 1000412 --json
    """
    from vmpool.client import Client

    with (
        Client() as client,
        contextlib.closing(_found(client, vm, kind or [], follow, after, limit)) as found,
    ):
        for event in found:
            if as_json:
                render.say(event.model_dump_json())
            else:
                render.say(_line(event))
            sys.stdout.flush()


def _found(
    client: Client, vm: str | None, types: list[str], follow: bool, after: int | None, limit: int
) -> Generator[Event, None, None]:
    if follow or after is not None:
        with contextlib.closing(client.events.follow(after=after, vm=vm, types=types)) as coming:
            yield from coming
    else:
        yield from reversed(client.events.list(vm=vm, types=types, limit=limit))


def _line(event: Event) -> str:
    about = [
        f"{noun} {number}"
        for noun, number in (
            ("VM", event.vm_id),
            ("execution", event.execution_id),
            ("snapshot", event.snapshot_id),
        )
        if number is not None
    ]
    facts = "  ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in event.facts.items()
    )
    when = event.time.strftime("%Y-%m-%d %H:%M:%S")
    line = f"{event.id}  {when}  {event.type:<20}  {', '.join(about)}  {facts}"
    return render.printable(line.rstrip())
