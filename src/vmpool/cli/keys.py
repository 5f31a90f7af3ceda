"""Commands over API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@app.command()
def create(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A note on what it is for.")] = None,
    ttl: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="It stops working after so long.")
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Make an API key; its secret is printed this once.

    \b
    export VMPOOL_API_KEY=$(vm key create ci)
    """
    from vmpool.client import Client

    with Client() as client:
        made = client.create_key(name, ttl)
    if as_json:
        render.show_json(made)
    else:
        render.say(made.key)
        render.note(f"key {made.id} '{made.name}': keep it, it cannot be shown again")


@app.command(name="list")
def list_(as_json: JSONOption = False) -> None:
    """List your API keys, without their secrets."""
    from vmpool.client import Client

    with Client() as client:
        found = client.list_keys()
    if as_json:
        render.show_json(found)
    else:
        render.table(
            ("id", "name", "begins", "created", "last used", "expires"),
            (
                (
                    key.id,
                    key.name,
                    key.prefix,
                    render.ago(key.created_at),
                    render.ago(key.last_used_at),
                    key.expires_at.isoformat(" ", "minutes") if key.expires_at else "never",
                )
                for key in found
            ),
        )


@app.command()
def revoke(key_id: Annotated[int, typer.Argument(metavar="ID", help="From 'vm key list'.")]) -> None:
    """Make an API key worthless."""
    from vmpool.client import Client

    with Client() as client:
        client.revoke_key(key_id)
    render.say(f"key {key_id} is revoked")
