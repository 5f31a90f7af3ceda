"""Commands over users, for administrators."""

from __future__ import annotations

from typing import Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption

app = typer.Typer(no_args_is_help=True, help="Make and list users; for administrators.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique on this server.")],
    admin: Annotated[bool, typer.Option("--admin", help="They may make users, too.")] = False,
    as_json: JSONOption = False,
) -> None:
    """Make a user and print their first API key, this once.

    \b
    vm user create ada
    """
    from vmpool.client import Client

    with Client() as client:
        made = client.create_user(name, admin=admin)
    if as_json:
        render.show_json(made)
    else:
        render.say(made.key.key)
        render.note(f"user {made.id} '{made.name}': give them this key, it cannot be shown again")


@app.command(name="list")
def list_(as_json: JSONOption = False) -> None:
    """List all users."""
    from vmpool.client import Client

    with Client() as client:
        found = client.list_users()
    if as_json:
        render.show_json(found)
    else:
        render.table(
            ("id", "name", "administrator", "created"),
            (
                (user.id, user.name, "yes" if user.admin else "", render.ago(user.created_at))
                for user in found
            ),
        )
