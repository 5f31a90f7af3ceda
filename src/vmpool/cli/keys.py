"""Commands over API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption
from vmpool.cli.users import user_id_of

if TYPE_CHECKING:
    from vmpool.client.models import APIKey, NewAPIKey

app = typer.Typer(no_args_is_help=True, help="Make, list, rotate and revoke API keys.")

KeyArgument = Annotated[int, typer.Argument(metavar="ID", help="From 'vm key list'.")]
UserOption = Annotated[
    str | None,
    typer.Option("--user", "-u", metavar="USER", help="Somebody else's, for administrators: name or id."),
]


class ScopeName(StrEnum):
    """What a key may do."""

    READ = "read"
    EXECUTE = "execute"
    MANAGE = "manage"
    ADMIN = "admin"


ScopeOption = Annotated[
    list[ScopeName] | None,
    typer.Option("--scope", "-s", help="What it may do; may be repeated. Default: all but admin."),
]


@app.command()
def create(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A note on what it is for.")] = None,
    ttl: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="It stops working after so long.")
    ] = None,
    scope: ScopeOption = None,
    user: UserOption = None,
    as_json: JSONOption = False,
) -> None:
    """Make an API key; its secret is printed this once.

    \b
    export VMPOOL_API_KEY=$(vm key create ci)
    vm key create dashboard --scope read --ttl 86400
    """
    from vmpool.client import Client

    with Client() as client:
        if user is None:
            made = client.create_key(name, ttl, scope)
        else:
            made = client.admin.create_key(user_id_of(client, user), name, ttl, scope)
    _show_secret(made, as_json)


@app.command(name="list")
def list_(user: UserOption = None, as_json: JSONOption = False) -> None:
    """List your API keys, without their secrets."""
    from vmpool.client import Client

    with Client() as client:
        found = client.list_keys() if user is None else client.admin.list_keys(user_id_of(client, user))
    if as_json:
        render.show_json(found)
    else:
        render.table(
            ("id", "name", "begins", "may", "created", "last used", "expires"),
            (
                (
                    key.id,
                    key.name,
                    key.prefix,
                    " ".join(key.scopes),
                    render.ago(key.created_at),
                    render.ago(key.last_used_at),
                    _end(key),
                )
                for key in found
            ),
        )


@app.command()
def rotate(
    key_id: KeyArgument,
    overlap: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", help="How long the old key goes on working. Default: 300.", min=0),
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Replace an API key by a new one, whose secret is printed this once.

    \b
    vm key rotate 3
    vm key rotate 3 --overlap 0
    """
    from vmpool.client import Client

    with Client() as client:
        made = client.rotate_key(key_id, overlap)
    _show_secret(made, as_json)


@app.command()
def revoke(key_id: KeyArgument, user: UserOption = None) -> None:
    """Make an API key worthless."""
    from vmpool.client import Client

    with Client() as client:
        if user is None:
            client.revoke_key(key_id)
        else:
            client.admin.revoke_key(user_id_of(client, user), key_id)
    render.say(f"key {key_id} is revoked")


def _show_secret(made: NewAPIKey, as_json: bool) -> None:
    if as_json:
        render.show_json(made)
    else:
        render.say(made.key)
        render.note(
            f"key {made.id} '{made.name}' may {', '.join(made.scopes)}: keep it, it cannot be shown again"
        )


def _end(key: APIKey) -> str:
    if key.expires_at is None:
        return "never"
    shown = key.expires_at.isoformat(" ", "minutes")
    return f"{shown}, expired" if key.expires_at <= datetime.now(UTC) else shown
