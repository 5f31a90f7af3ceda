"""The command that shows who did what, for administrators."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption
from vmpool.cli.users import user_id_of


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(audit)


def audit(
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", help="Entries at most.", min=1)] = 50,
    user: Annotated[
        str | None, typer.Option("--user", "-u", metavar="USER", help="Only of this user: name or id.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="ACTION", help="Only this, as in delete_vm.")
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Show who did what, newest first; for administrators.

    \b
    vm audit
    vm audit --user ada --action delete_vm
    """
    from vmpool.client import Client

    with Client() as client:
        user_id = None if user is None else user_id_of(client, user)
        found = client.admin.list_audit(limit=limit, user_id=user_id, action=action)
    if as_json:
        render.show_json(found)
        return
    render.table(
        ("time", "user", "key", "from", "action", "target", "status", "facts"),
        (
            (
                entry.time.strftime("%Y-%m-%d %H:%M:%S"),
                entry.user,
                entry.key_id,
                entry.address,
                entry.action,
                entry.target,
                entry.status,
                json.dumps(entry.facts, ensure_ascii=False) if entry.facts else "",
            )
            for entry in found
        ),
    )
