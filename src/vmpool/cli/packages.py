"""The command that installs packages in a VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render, results, streams
from vmpool.cli.arguments import JSONOption, TimeoutOption, VMArgument

if TYPE_CHECKING:
    from vmpool.client.options import RunOptions


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(install)


def install(
    vm: VMArgument,
    packages: Annotated[
        list[str], typer.Argument(metavar="PACKAGE...", help="A name, with a version if need be.")
    ],
    manager: Annotated[
        str | None,
        typer.Option("--manager", "-m", help="Default: that of the VM's language.", show_default=False),
    ] = None,
    cwd: Annotated[
        str | None,
        typer.Option(help="Where its package manager is called. Default: /home/user.", show_default=False),
    ] = None,
    timeout: TimeoutOption = None,
    as_json: JSONOption = False,
) -> None:
    """Install packages in a running VM; ends with the package manager's own exit status.

    \b
    vm install test-vm requests "attrs>=23"
    vm install test-vm --manager pip requests
    vm install node-vm lodash@4 --cwd project
    """
    from vmpool.client import Client

    with Client() as client:
        if as_json:
            result = client.install(vm, packages, manager=manager, cwd=cwd, timeout=timeout)
            render.show_json(result)
        else:
            options: RunOptions = {"packages": packages, "manager": manager}
            options |= {"cwd": cwd, "timeout": timeout}
            result = streams.run(client, vm, None, options, stdin=False)
            results.explain(result)
    raise typer.Exit(results.exit_status(result))
