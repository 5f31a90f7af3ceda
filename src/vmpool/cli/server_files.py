"""Commands over a server's state directory: backup and restore."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption
from vmpool.client import local

if TYPE_CHECKING:
    from vmpool.backup import Manifest

app = typer.Typer(no_args_is_help=True, help="Back up a server's state directory, and restore it.")

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", dir_okay=False)]
StateOption = Annotated[
    Path | None, typer.Option(help="The state directory.", file_okay=False, show_default=False)
]


@app.command()
def backup(file: FileArgument, state_dir: StateOption = None, as_json: JSONOption = False) -> None:
    """Write a server's state directory to a file, while the server runs or without it.

    It holds the database, keys, and the files and snapshots of bubblewrap VMs; each VM is held still for as
    long as its disk is copied.  Whoever can read the file has all of that.  Run it as the server's user.

    \b
    vm server backup /srv/backup/vmpool-monday
    """
    local.require_server()
    from vmpool.backup import save
    from vmpool.settings import load_settings

    chosen = {} if state_dir is None else {"state_dir": state_dir}
    with render.busy("copying ..."):
        manifest = save(load_settings(overrides=chosen), file.absolute())
    _show(manifest, f"{file}: {render.size(file.stat().st_size)}", as_json)


@app.command()
def restore(file: FileArgument, state_dir: StateOption = None, as_json: JSONOption = False) -> None:
    """Make a state directory from a backup; it must not exist yet, or be empty.

    A damaged file is refused before anything is written.  Every VM is stopped afterwards, with its files.
    The server it was saved from must not run any more: both would be one pool, and remove each other's VMs.

    \b
    vm server restore /srv/backup/vmpool-monday
    vm serve
    """
    local.require_server()
    from vmpool.backup import restore as put_back

    directory = (state_dir or local.default_state_dir()).absolute()
    with render.busy("restoring ..."):
        manifest = put_back(file.absolute(), directory)
    _show(manifest, f"{directory}: restored", as_json)
    render.note(
        f"it is the pool {manifest.pool_id}, as is the server it was saved from: they must never run at once"
    )


def _show(manifest: Manifest, what: str, as_json: bool) -> None:
    if as_json:
        render.show_json(asdict(manifest))
        return
    held = f"{manifest.vms} VMs and {manifest.snapshots} snapshots with their files"
    render.say(f"{what}; {held}, as of {manifest.created_at}")
    for sentence in manifest.missing:
        render.note(f"not in it: {sentence}")
