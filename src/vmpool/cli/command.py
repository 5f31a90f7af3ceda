"""The command line as a whole: which commands there are, and what an error looks like."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from vmpool import __version__
from vmpool.cli import (
    audit,
    contexts,
    doctor,
    events,
    executions,
    files,
    images,
    jobs,
    keys,
    network,
    packages,
    pool,
    ports,
    render,
    runs,
    secrets,
    server,
    server_files,
    shell,
    snapshots,
    templates,
    users,
    vms,
    webhooks,
)
from vmpool.cli.status import NOT_DONE
from vmpool.client.errors import ClientError
from vmpool.client.local import CA_VARIABLE
from vmpool.errors import VMPoolError

app = typer.Typer(
    name="vm",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done; the program's own for `execute` and `run`; "
    "2 wrong command line; 125 vmpool could not do it.",
)
for group in (
    vms,
    runs,
    jobs,
    packages,
    executions,
    shell,
    files,
    snapshots,
    network,
    ports,
    events,
    pool,
    audit,
    server,
    doctor,
):
    group.register(app)
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(contexts.app, name="context")
app.add_typer(templates.app, name="template")
app.add_typer(secrets.app, name="secret")
app.add_typer(keys.app, name="key")
app.add_typer(users.app, name="user")
app.add_typer(images.app, name="images")
app.add_typer(server_files.app, name="server")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the only authority an https server may be certified by. Default: VMPOOL_CA.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run code in isolated virtual machines: up to 10 at once.

    With no server running, the first command starts one on this machine.

    \b
    vm create test-vm python
    vm execute test-vm "print('Hello from VM!')"
    vm delete test-vm
    """
    if ca is not None:
        os.environ[CA_VARIABLE] = str(ca.absolute())


def run() -> int:
    """Do what the command line says; its exit status."""
    try:
        app(standalone_mode=True)
    except ClientError as error:
        render.problem(error)
        return NOT_DONE
    except VMPoolError as error:  # from what works without a server
        render.note(f"vm: {error.message}")
        return NOT_DONE
    except SystemExit as ended:  # what Typer ends with in every case
        sys.stdout.flush()
        return ended.code if isinstance(ended.code, int) else 0
    return 0
