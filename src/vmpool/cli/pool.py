"""The command that shows the pool as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption

if TYPE_CHECKING:
    from vmpool.client.models import WarmPoolStatus


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(pool)


def pool(
    users: Annotated[bool, typer.Option("--users", help="What each user takes, for administrators.")] = False,
    as_json: JSONOption = False,
) -> None:
    """Show the pool: its limits, what is in use, its backend and its host."""
    from vmpool.client import Client

    if users:
        _by_user(as_json)
        return
    with Client() as client:
        status = client.pool_status()
    if as_json:
        render.show_json(status)
        return
    limits, use, backend, host = status.limits, status.use, status.backend, status.host
    render.facts(
        (
            ("server", status.version),
            ("backend", f"{backend.name} {backend.version} ({backend.isolation}, {backend.grade})"),
            ("isolation offered", ", ".join(backend.isolations)),
            ("chosen because", backend.reason),
            ("templates", ", ".join(backend.templates)),
            *((f"{what} held by", how) for what, how in backend.enforcement.items()),
            ("your VMs", f"{use.vms} of {limits.max_vms_per_user}"),
            ("all VMs", f"{use.total_vms} of {limits.max_total_vms}"),
            ("states", ", ".join(f"{count} {state}" for state, count in status.states.items() if count)),
            ("executing now", use.executions),
            ("cpu limits", f"{use.cpu:g} of {'any number' if limits.cpu is None else f'{limits.cpu:g}'}"),
            ("memory limits", f"{use.memory} of {'any' if limits.memory is None else limits.memory} MB"),
            ("disk limits", f"{use.disk} MB"),
            ("warm pool", _warm(status.warm_pool)),
            ("host cpu", f"{host.cpus} cores, load {' '.join(f'{load:.2f}' for load in host.load_average)}"),
            ("host memory", _free(host.memory_available_bytes, host.memory_bytes)),
            ("host disk", _free(host.disk_free_bytes, host.disk_bytes)),
        )
    )


def _by_user(as_json: bool) -> None:
    from vmpool.client import Client

    with Client() as client:
        found = client.admin.list_use()
    if as_json:
        render.show_json(found)
        return
    render.table(
        ("id", "name", "vms", "running", "executing", "cpu", "memory", "disk"),
        (
            (
                one.user.id,
                one.user.name,
                one.vms,
                one.running,
                one.executions,
                f"{one.cpu:g}",
                f"{one.memory} MB",
                f"{one.disk} MB",
            )
            for one in found
        ),
    )


def _warm(pool: WarmPoolStatus) -> str:
    if not pool.enabled:
        return f"none: {pool.reason}"
    ready = ", ".join(f"{count} {template}" for template, count in pool.ready.items()) or "nothing"
    rate = "" if pool.hit_rate is None else f", {pool.hit_rate:.0%} of creates were served from it"
    return f"{ready} waiting{rate}"


def _free(free: int, total: int) -> str:
    return f"{render.size(free)} free of {render.size(total)}"
