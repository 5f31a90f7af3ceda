"""Commands over snapshots: snapshot, snapshots, restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption, QuietOption, VMArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmpool.client import Client
    from vmpool.client.models import Snapshot

SnapshotArgument = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="The snapshot's id or name.")]


class _TakenByDefault(TyperGroup):
    """`vm snapshot ID` is `vm snapshot take ID`: what is no command here is a VM."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["take", *args]
        return super().parse_args(ctx, args)


snapshot_app = typer.Typer(
    cls=_TakenByDefault,
    no_args_is_help=True,
    help="Keep a VM's files as they are now: vm snapshot ID [NAME]; export and import what was kept.",
)


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    snapshot_app.command("take")(snapshot)
    snapshot_app.command("show")(show)
    snapshot_app.command("tree")(tree)
    snapshot_app.command("export")(export)
    snapshot_app.command("import")(import_)
    app.add_typer(snapshot_app, name="snapshot")
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


def show(vm: VMArgument, snapshot: SnapshotArgument, as_json: JSONOption = False) -> None:
    """Show what is known of a snapshot."""
    from vmpool.client import Client

    with Client() as client:
        found = client.snapshots.get(vm, snapshot_id(client, vm, snapshot))
    if as_json:
        render.show_json(found)
        return
    facts = (
        ("id", str(found.id)),
        ("name", found.name),
        ("VM", str(found.vm_id)),
        ("size", render.size(found.size)),
        ("created", render.ago(found.created_at)),
        ("after", "" if found.parent_id is None else str(found.parent_id)),
        ("stands on", f"{found.backend} {found.base}"),
        ("sealed", "yes" if found.sealed else "no"),
    )
    render.table(("", ""), facts)


def export(
    vm: VMArgument,
    snapshot: SnapshotArgument,
    target: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Where to. Default: snapshot-ID.tar here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that is there.")] = False,
) -> None:
    """Write a snapshot to one file, which is there whole or not at all.

    \b
    vm snapshot export test-vm before-upgrade before-upgrade.tar
    """
    from vmpool.client import Client

    with Client() as client:
        number = snapshot_id(client, vm, snapshot)
        file = target or Path(f"snapshot-{number}.tar")
        if file.is_dir():
            file /= f"snapshot-{number}.tar"
        if file.exists() and not force:
            raise typer.BadParameter(f"{file} is there already; --force replaces it", param_hint="'FILE'")
        with render.transfer(f"exporting {snapshot}") as progress:
            client.snapshots.export_to(vm, number, file, progress=progress)
    render.say(f"{file}: {render.size(file.stat().st_size)}")


def import_(
    vm: VMArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What was exported.", exists=True, dir_okay=False)
    ],
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Default: the one it had.")] = None,
    as_json: JSONOption = False,
) -> None:
    """Keep an exported snapshot as one of a VM, whose files stay as they are.

    \b
    vm snapshot import test-vm before-upgrade.tar
    vm restore test-vm before-upgrade
    """
    from vmpool.client import Client

    with Client() as client, render.transfer(f"importing {file}") as progress:
        made = client.snapshots.import_from(vm, file, name, progress=progress)
    if as_json:
        render.show_json(made)
    else:
        render.say(f"snapshot {made.id} '{made.name}' of VM {made.vm_id}, {render.size(made.size)}")


def tree(vm: VMArgument) -> None:
    """Show a VM's snapshots, each below the one it came after.

    \b
    vm snapshot tree test-vm
    """
    snapshots(vm, as_tree=True)


def snapshots(
    vm: VMArgument,
    as_tree: Annotated[bool, typer.Option("--tree", help="Each below the one it came after.")] = False,
    as_json: JSONOption = False,
) -> None:
    """List a VM's snapshots, newest first."""
    from vmpool.client import Client

    with Client() as client:
        found = client.list_snapshots(vm)
    if as_json:
        render.show_json(found)
    elif as_tree:
        for depth, one in ancestry(found):
            facts = f"{render.size(one.size)}, {render.ago(one.created_at)}"
            render.say(f"{'  ' * depth}{one.id} {one.name}, {facts}")
    else:
        render.table(
            ("id", "name", "size", "created"),
            ((one.id, one.name, render.size(one.size), render.ago(one.created_at)) for one in found),
        )


def restore(
    vm: VMArgument,
    snapshot: SnapshotArgument,
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


def ancestry(found: Sequence[Snapshot]) -> Iterator[tuple[int, Snapshot]]:
    """Each snapshot below the one it came after, oldest first, with its depth.  Pure."""
    known = {one.id for one in found}
    below: dict[int | None, list[Snapshot]] = {}
    for one in sorted(found, key=lambda one: one.id):
        below.setdefault(one.parent_id if one.parent_id in known else None, []).append(one)
    pending = [(0, one) for one in reversed(below.get(None, []))]
    while pending:
        depth, one = pending.pop()
        yield depth, one
        pending += [(depth + 1, child) for child in reversed(below.get(one.id, []))]


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
