"""Commands over snapshots: snapshot, snapshots, restore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption, QuietOption, VMArgument

if TYPE_CHECKING:
    from vmpool.client import Client


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(snapshot)
    app.command()(snapshots)
    app.command()(restore)
    app.command()(fork)


def snapshot(
    vm: VMArgument,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Default: made from the VM's name and the time.")
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Keep a VM's files as they are now.

    \b
    vm snapshot test-vm before-upgrade
    """
    from vmpool.client import Client

    with Client() as client, render.busy(f"taking a snapshot of {vm} ..."):
        made = client.snapshot(vm, name)
    if as_json:
        render.show_json(made)
    else:
        render.say(f"snapshot {made.id} '{made.name}' of VM {made.vm_id}, {render.size(made.size)}")


def snapshots(vm: VMArgument, as_json: JSONOption = False) -> None:
    """List a VM's snapshots, newest first."""
    from vmpool.client import Client

    with Client() as client:
        found = client.list_snapshots(vm)
    if as_json:
        render.show_json(found)
    else:
        render.table(
            ("id", "name", "size", "created"),
            ((one.id, one.name, render.size(one.size), render.ago(one.created_at)) for one in found),
        )


def restore(
    vm: VMArgument,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="The snapshot's id or name.")],
    as_json: JSONOption = False,
) -> None:
    """Put a VM's files back to what a snapshot kept.

    \b
    vm restore test-vm before-upgrade
    """
    from vmpool.client import Client

    with Client() as client:
        number = snapshot_id(client, vm, snapshot)
        with render.busy(f"restoring {vm} ..."):
            restored = client.restore(vm, number)
    if as_json:
        render.show_json(restored)
    else:
        render.say(f"VM {restored.id} '{restored.name}' is {restored.status}, with the files of '{snapshot}'")


def fork(
    vm: VMArgument,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, metavar="N", help="How many. Default: 1.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", metavar="NAME", help="Of one of them; may be repeated. Default: ID-1, ID-2 and so on."
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JSONOption = False,
) -> None:
    """Make copies of a VM with its files as they are now, all of them or none.

    What runs in it goes on there and is not copied.

    \b
    vm fork test-vm
    vm fork test-vm --count 10
    """
    from vmpool.client import Client

    with Client() as client, render.busy(f"copying {vm} ..."):
        made = client.fork(vm, count, name)
    if as_json:
        render.show_json(made)
    elif quiet:
        for one in made:
            render.say(str(one.id))
    else:
        for one in made:
            render.say(f"VM {one.id} '{one.name}' is {one.status}, with the files of {vm}")


def snapshot_id(client: Client, vm: str, text: str) -> int:
    """The id of a snapshot given by id or name; the newest of several of one name."""
    if text.isdecimal():
        return int(text)
    for one in client.list_snapshots(vm):
        if one.name == text:
            return one.id
    raise typer.BadParameter(
        f"VM {vm} has no snapshot '{text}'; 'vm snapshots {vm}' lists them", param_hint="'SNAPSHOT'"
    )
