"""The command over a VM's network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import AllowOption, DenyOption, GroupOption, JSONOption, VMArgument

if TYPE_CHECKING:
    from vmpool.client import Network, NetworkLogEntry
    from vmpool.client.models import NetworkPolicy
    from vmpool.client.options import PolicyOptions

LOG_LINES = 100


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(network)


def network(
    vm: VMArgument,
    allow: AllowOption = None,
    deny: DenyOption = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="RULE", help="Take a rule out of both lists.")
    ] = None,
    group: GroupOption = None,
    no_group: Annotated[bool, typer.Option("--no-group", help="Take it out of its group.")] = False,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="BYTES", help="In both directions, over its life.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Begin with an empty policy.")] = False,
    log: Annotated[bool, typer.Option("--log", help="Show what it has reached and was refused.")] = False,
    as_json: JSONOption = False,
) -> None:
    """Show what a VM may reach and has used, or change it: at once, open connections included.

    \b
    vm network test-vm
    vm network test-vm --allow api.example.org --allow "*.example.net:443"
    vm network test-vm --remove api.example.org --deny 1.2.3.0/24
    vm network test-vm --log
    """
    from vmpool.client import Client

    changes = any((allow, deny, remove, group, no_group, max_bytes, reset))
    if log and changes:
        raise typer.BadParameter("shows the log and changes nothing", param_hint="'--log'")
    with Client() as client:
        if log:
            _show_log(client.network_log(vm, LOG_LINES), as_json)
            return
        found = client.network(vm)
        if changes:
            kept: PolicyOptions = {} if reset else _policy(found.policy)
            kept["allow"] = _listed(kept.get("allow", ()), allow, remove)
            kept["deny"] = _listed(kept.get("deny", ()), deny, remove)
            if group is not None or no_group:
                kept["group"] = None if no_group else group
            if max_bytes is not None:
                kept["max_bytes"] = max_bytes
            found = client.set_network(vm, **kept)
    _show(found, as_json)


def _policy(of: NetworkPolicy) -> PolicyOptions:
    return {
        "allow": of.allow,
        "deny": of.deny,
        "group": of.group,
        "max_connections": of.max_connections,
        "connections_per_second": of.connections_per_second,
        "max_bytes": of.max_bytes,
    }


def _listed(before: Sequence[str], added: Iterable[str] | None, removed: Iterable[str] | None) -> list[str]:
    """A list with rules added at its end and others taken out, each once."""
    gone = set(removed or ())
    return [rule for rule in dict.fromkeys((*before, *(added or ()))) if rule not in gone]


def _show(found: Network, as_json: bool) -> None:
    if as_json:
        render.show_json(found)
        return
    policy, limits, use = found.policy, found.limits, found.use
    filtered = found.mode == "filtered"
    counts = ((use.allowed, "made"), (use.refused, "refused"), (use.failed, "failed"), (use.cut, "cut"))
    most = "" if limits.max_bytes is None else f" of {render.size(limits.max_bytes)}"
    render.facts(
        (
            ("mode", found.mode),
            ("allow", (", ".join(policy.allow) or "every public address") if filtered else None),
            ("deny", ", ".join(policy.deny)),
            ("group", policy.group),
            ("open", f"{use.open} of {limits.max_connections}" if filtered else None),
            ("connections", ", ".join(f"{count} {word}" for count, word in counts) if filtered else None),
            ("bytes", f"{render.size(use.bytes_used)}{most}" if filtered else None),
        )
    )


def _show_log(entries: list[NetworkLogEntry], as_json: bool) -> None:
    if as_json:
        render.show_json(entries)
        return
    if not entries:
        render.note("nothing has been asked for yet, or nothing has ended")
        return
    render.table(
        ("time", "verdict", "host", "port", "address", "via", "up", "down", "rule"),
        (
            (
                f"{one.time:%Y-%m-%d %H:%M:%S}",
                one.verdict,
                one.host,
                one.port,
                one.address or "",
                one.via,
                render.size(one.bytes_up),
                render.size(one.bytes_down),
                one.rule,
            )
            for one in entries
        ),
    )
