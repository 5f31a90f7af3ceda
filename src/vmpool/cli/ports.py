"""Commands over a VM's ports: forward, share."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption, VMArgument

if TYPE_CHECKING:
    from vmpool.client import ClientError

LAST_PORT = 65535
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(forward)
    app.command()(share)


def forward(
    vm: VMArgument,
    ports: Annotated[
        list[str],
        typer.Argument(
            metavar="[LOCAL:]PORT...",
            help="A port in the VM, and the one of this machine that leads to it; 0: any. Default: the same.",
            show_default=False,
        ),
    ],
) -> None:
    """Reach servers in a VM at ports of this machine, until it is interrupted.

    They listen on 127.0.0.1 only, and carry any number of TCP connections.

    \b
    vm forward web 8080
    vm forward web 9000:8080 0:5432
    """
    from vmpool.client import Client

    wanted = [_pair(text) for text in ports]
    with Client() as client, ExitStack() as stack:
        machine = client.get_vm(vm)
        if machine.status != "running":
            render.note(f"VM {machine.id} is {machine.status}: nothing answers until it runs")
        for local, remote in wanted:
            opened = stack.enter_context(client.forward(machine.id, remote, local_port=local, problem=_tell))
            render.say(f"{opened.host}:{opened.port} leads to port {remote} of VM {machine.id}")
        signal.pause()  # `vmpool.cli.main` ends it


def share(
    vm: VMArgument,
    port: Annotated[
        int,
        typer.Argument(metavar="PORT", min=1, max=LAST_PORT, help="A port in the VM.", show_default=False),
    ],
    expires_in: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long it works: 90s, 30m, 12h, 7d.")
    ] = "1h",
    revoke: Annotated[
        bool, typer.Option("--revoke", help="End every link to this port instead of making one.")
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Make a link to a server in a VM: whoever has it reaches this port, and nothing else.

    \b
    vm share web 8080
    vm share web 8080 --for 7d
    vm share web 8080 --revoke
    """
    from vmpool.client import Client

    seconds = _seconds(expires_in)
    with Client() as client:
        if revoke:
            client.revoke_shares(vm, port)
            render.say(f"no link to port {port} of VM {vm} works any more")
            return
        made = client.share(vm, port, seconds)
    if as_json:
        render.show_json(made)
    else:
        render.say(made.url)
        render.note(f"it works until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC, for whoever has it")


def _pair(text: str) -> tuple[int, int]:
    """From `[LOCAL:]PORT` to the local port and the VM's."""
    local, _, remote = text.rpartition(":")
    local = local or remote
    numbers = (local, remote)
    if not all(one.isdecimal() and one.isascii() and int(one) <= LAST_PORT for one in numbers):
        raise typer.BadParameter(f"'{text}' is not [LOCAL:]PORT", param_hint="'[LOCAL:]PORT'")
    if int(remote) == 0:
        raise typer.BadParameter(f"'{text}' names no port in the VM", param_hint="'[LOCAL:]PORT'")
    return int(local), int(remote)


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd]?)", text)
    if found is None:
        raise typer.BadParameter(f"'{text}' is no time like 90s, 30m, 12h or 7d", param_hint="'--for'")
    return int(found[1]) * _UNITS[found[2]]


def _tell(error: ClientError) -> None:
    render.note(f"vm: {error}")
