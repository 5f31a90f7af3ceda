"""Commands over users, for administrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption

if TYPE_CHECKING:
    from vmpool.client import Client
    from vmpool.client.options import UserChanges

app = typer.Typer(no_args_is_help=True, help="Make, list, limit and disable users; for administrators.")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Name or id.", show_default=False)]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Unique on this server.")],
    admin: Annotated[bool, typer.Option("--admin", help="They may make users, too.")] = False,
    max_vms: Annotated[
        int | None, typer.Option(metavar="N", help="VMs at once. Default: the server's limit.", min=0)
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Make a user and print their first API key, this once.

    \b
    vm user create ada
    """
    from vmpool.client import Client

    with Client() as client:
        made = client.admin.create_user(name, admin=admin, max_vms=max_vms)
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
        found = client.admin.list_users()
    if as_json:
        render.show_json(found)
    else:
        render.table(
            ("id", "name", "administrator", "vms at most", "disabled", "created"),
            (
                (
                    user.id,
                    user.name,
                    "yes" if user.admin else "",
                    "usual" if user.max_vms is None else user.max_vms,
                    render.ago(user.disabled_at),
                    render.ago(user.created_at),
                )
                for user in found
            ),
        )


@app.command()
def disable(user: UserArgument) -> None:
    """Refuse a user's keys from now on and stop their VMs; the files stay."""
    with render.busy("stopping their VMs ..."):
        name = _change(user, {"disabled": True})
    render.say(f"user '{name}' is disabled")


@app.command()
def enable(user: UserArgument) -> None:
    """Let a disabled user in again."""
    render.say(f"user '{_change(user, {'disabled': False})}' is enabled")


@app.command()
def update(
    user: UserArgument,
    admin: Annotated[bool | None, typer.Option(help="Whether they administer this server.")] = None,
    max_vms: Annotated[
        str | None, typer.Option(metavar="N", help="VMs at once; 'usual': the server's limit.")
    ] = None,
) -> None:
    """Change what a user may do and have.

    \b
    vm user update ada --max-vms 20
    vm user update ada --admin
    """
    changes: UserChanges = {}
    if admin is not None:
        changes["admin"] = admin
    if max_vms is not None:
        changes["max_vms"] = _quota(max_vms)
    if not changes:
        raise typer.BadParameter("say what is to change", param_hint="'--admin' or '--max-vms'")
    render.say(f"user '{_change(user, changes)}' is changed")


def user_id_of(client: Client, user: str) -> int:
    """The id of a user given by name or id."""
    if user.isdecimal():
        return int(user)
    for found in client.admin.list_users():
        if found.name == user:
            return found.id
    raise typer.BadParameter(f"there is no user '{user}'; 'vm user list' shows them", param_hint="USER")


def _change(user: str, changes: UserChanges) -> str:
    """The user's name, after changing them."""
    from vmpool.client import Client

    with Client() as client:
        return client.admin.update_user(user_id_of(client, user), **changes).name


def _quota(text: str) -> int | None:
    if text == "usual":
        return None
    if not text.isdecimal():
        raise typer.BadParameter(f"'{text}' is neither a number nor 'usual'", param_hint="'--max-vms'")
    return int(text)
