"""Commands over secrets."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption, vm_names

app = typer.Typer(no_args_is_help=True, help="Keep secrets for executions; their values never come back.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the variable is called.")]
VMOption = Annotated[
    str | None,
    typer.Option("--vm", metavar="ID", help="For executions in this VM only.", autocompletion=vm_names),
]


@app.command(name="set")
def set_(
    name: NameArgument,
    vm: VMOption = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="HOST",
            help="Never into a VM: put into plain HTTP requests to this host, for {{NAME}} in a header.",
        ),
    ] = None,
) -> None:
    """Keep a secret: its value comes on standard input, never as an argument. A line end is left out.

    \b
    vm secret set API_TOKEN < token
    pass show example | vm secret set API_TOKEN --vm test-vm
    """
    from vmpool.client import Client

    if sys.stdin.isatty():
        value = typer.prompt(name, hide_input=True, err=True)
    else:
        try:
            value = sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise typer.BadParameter("is not UTF-8 text", param_hint="standard input") from error
    with Client() as client:
        client.secrets.set(name, value, vm, host or ())


@app.command(name="list")
def list_(as_json: JSONOption = False) -> None:
    """List your secrets by name."""
    from vmpool.client import Client

    with Client() as client:
        found = client.secrets.list()
    if as_json:
        render.show_json(found)
    else:
        rows = [
            (one.name, one.vm_id or "all", " ".join(one.hosts), render.ago(one.updated_at)) for one in found
        ]
        render.table(("name", "vm", "hosts", "set"), rows)


@app.command()
def delete(name: NameArgument, vm: VMOption = None) -> None:
    """Forget a secret; what runs keeps it."""
    from vmpool.client import Client

    with Client() as client:
        client.secrets.delete(name, vm)
