"""Commands over VMs: create, list, start, stop, restart, pause, resume, limits, status, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vmpool.cli import render
from vmpool.cli.arguments import (
    AllowOption,
    DenyOption,
    EnvOption,
    GroupOption,
    JSONOption,
    LabelOption,
    LanguageArgument,
    QuietOption,
    VMArgument,
    VMArguments,
    pairs,
    policy,
)

if TYPE_CHECKING:
    from vmpool.client.models import VM


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(create)
    app.command(name="list")(list_)
    app.command()(start)
    app.command()(stop)
    app.command()(restart)
    app.command()(pause)
    app.command()(resume)
    app.command()(limits)
    app.command()(status)
    app.command()(delete)


def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Unique among your VMs: lower-case letters, digits and '-'.")
    ],
    language: LanguageArgument = None,
    cpu: Annotated[float | None, typer.Option(metavar="CORES", help="Default: 1.")] = None,
    memory: Annotated[int | None, typer.Option(metavar="MB", help="Default: 512.")] = None,
    disk: Annotated[int | None, typer.Option(metavar="MB", help="Default: 1024.")] = None,
    processes: Annotated[int | None, typer.Option(metavar="COUNT", help="Default: 512.")] = None,
    template: Annotated[
        str | None, typer.Option(help="A built-in one or one of yours. Default: the language's own.")
    ] = None,
    env: EnvOption = None,
    label: LabelOption = None,
    ttl: Annotated[int | None, typer.Option(metavar="SECONDS", help="Delete it after so long.")] = None,
    idle_timeout: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Stop it after so long without an execution.")
    ] = None,
    idle_pause: Annotated[
        int | None, typer.Option(metavar="SECONDS", help="Pause it after so long, until it is used.")
    ] = None,
    network: Annotated[
        Literal["none", "filtered", "full"] | None,
        typer.Option(help="Default: filtered.", show_default=False),
    ] = None,
    isolation: Annotated[
        Literal["namespaces", "container", "gvisor", "microvm"] | None,
        typer.Option(help="The wall around it. Default: the server's own.", show_default=False),
    ] = None,
    strict_limits: Annotated[
        bool, typer.Option("--strict-limits", help="Refuse where a limit is not hard on the server's host.")
    ] = False,
    allow: AllowOption = None,
    deny: DenyOption = None,
    group: GroupOption = None,
    package: Annotated[
        list[str] | None,
        typer.Option("--package", "-p", help="Install it before the VM is yours; may be repeated."),
    ] = None,
    quiet: QuietOption = False,
    as_json: JSONOption = False,
) -> None:
    """Create a VM.

    \b
    vm create test-vm python
    vm create fresh --template with-numpy
    vm create big nodejs --cpu 2 --memory 2048 --env NODE_ENV=test
    vm create brief bash --ttl 600
    vm create ready python --package requests --package "attrs>=23"
    vm create careful python --allow api.example.org --allow "*.example.net"
    """
    from vmpool.client import Client

    if language is None and template is None:
        raise typer.BadParameter("give one, or --template", param_hint="'LANGUAGE'")
    with Client() as client, render.busy(f"creating {name} ..."):
        vm = client.create_vm(
            name,
            language,
            cpu_limit=cpu,
            memory_limit=memory,
            disk_limit=disk,
            process_limit=processes,
            template=template,
            env=pairs(env, "--env"),
            labels=pairs(label, "--label"),
            ttl=ttl,
            idle_timeout=idle_timeout,
            idle_pause=idle_pause,
            network=network,
            network_policy=policy(allow, deny, group),
            isolation=isolation,
            strict_limits=strict_limits or None,
            packages=package,
        )
    if as_json:
        render.show_json(vm)
    elif quiet:
        render.say(str(vm.id))
    else:
        render.say(
            f"VM {vm.id} '{vm.name}' is {vm.status}: {vm.language} on {vm.backend}, {vm.cpu_limit:g} CPU, "
            f"{vm.memory_limit} MB memory, {vm.disk_limit} MB disk"
        )
    for warning in vm.warnings:
        render.note(f"note: {warning}")


def list_(
    everybodys: Annotated[bool, typer.Option("--all", "-a", help="Everybody's, for administrators.")] = False,
    quiet: QuietOption = False,
    as_json: JSONOption = False,
) -> None:
    """List your VMs, newest first.

    \b
    vm list
    vm delete $(vm list --quiet)
    """
    from vmpool.client import Client

    with Client() as client:
        vms = client.admin.list_vms() if everybodys else client.list_vms()
    if as_json:
        render.show_json(vms)
    elif quiet:
        for vm in vms:
            render.say(str(vm.id))
    else:
        render.table(
            (
                "id",
                "name",
                *(["user"] if everybodys else []),
                "status",
                "language",
                "cpu",
                "memory",
                "disk",
                "backend",
                "created",
            ),
            (
                (
                    vm.id,
                    vm.name,
                    *([vm.user_id] if everybodys else []),
                    vm.status,
                    vm.language,
                    f"{vm.cpu_limit:g}",
                    f"{vm.memory_limit} MB",
                    f"{vm.disk_limit} MB",
                    vm.backend,
                    render.ago(vm.created_at),
                )
                for vm in vms
            ),
        )
        if not vms:
            render.note("no VMs yet; 'vm create test-vm python' makes one")


def start(vm: VMArgument, as_json: JSONOption = False) -> None:
    """Start a stopped VM with the files it had."""
    from vmpool.client import Client

    with Client() as client, render.busy(f"starting {vm} ..."):
        _changed(client.start_vm(vm), as_json)


def stop(vm: VMArgument, as_json: JSONOption = False) -> None:
    """Stop a VM: its processes end, its files stay."""
    from vmpool.client import Client

    with Client() as client, render.busy(f"stopping {vm} ..."):
        _changed(client.stop_vm(vm), as_json)


def pause(vm: VMArgument, as_json: JSONOption = False) -> None:
    """Hold a VM where it is, with its memory: it computes nothing until it goes on.

    Services and idle contexts are kept. Refused while something runs in it that has a time limit. Whatever
    needs the VM (vm execute, vm shell, files, ports) lets it go on by itself.
    """
    from vmpool.client import Client

    with Client() as client, render.busy(f"pausing {vm} ..."):
        _changed(client.pause_vm(vm), as_json)


def resume(vm: VMArgument, as_json: JSONOption = False) -> None:
    """Let a paused VM go on."""
    from vmpool.client import Client

    with Client() as client, render.busy(f"resuming {vm} ..."):
        _changed(client.resume_vm(vm), as_json)


def restart(vm: VMArgument, as_json: JSONOption = False) -> None:
    """Stop a VM and start it again."""
    from vmpool.client import Client

    with Client() as client, render.busy(f"restarting {vm} ..."):
        _changed(client.restart_vm(vm), as_json)


def limits(
    vm: VMArgument,
    cpu: Annotated[float | None, typer.Option(metavar="CORES")] = None,
    memory: Annotated[int | None, typer.Option(metavar="MB")] = None,
    disk: Annotated[int | None, typer.Option(metavar="MB", help="It only grows.")] = None,
    processes: Annotated[int | None, typer.Option(metavar="COUNT")] = None,
    as_json: JSONOption = False,
) -> None:
    """Change a VM's limits, or show them.

    CPU, memory and processes change while the VM runs; a hard disk grows while it is stopped.

    \b
    vm limits test-vm
    vm limits test-vm --cpu 2 --memory 1024
    """
    from vmpool.client import Client

    with Client() as client:
        if cpu is None and memory is None and disk is None and processes is None:
            about = client.get_vm(vm)
        else:
            about = client.change_limits(
                vm, cpu_limit=cpu, memory_limit=memory, disk_limit=disk, process_limit=processes
            )
    if as_json:
        render.show_json(about)
        return
    render.facts(
        (
            ("cpu", f"{about.cpu_limit:g}"),
            ("memory", f"{about.memory_limit} MB"),
            ("disk", f"{about.disk_limit} MB"),
            ("processes", about.process_limit),
            *(("note", warning) for warning in about.warnings),
        )
    )


def status(vm: VMArgument, as_json: JSONOption = False) -> None:
    """Show a VM's state and its live CPU, memory, disk and process figures."""
    from vmpool.client import Client

    with Client() as client:
        live = client.vm_status(vm)
        about = None if as_json else client.get_vm(vm)
    if about is None:
        render.show_json(live)
        return
    render.facts(
        (
            ("VM", f"{about.id} '{about.name}'"),
            ("status", about.status),
            ("error", about.error),
            ("language", about.language),
            ("template", about.template),
            ("backend", f"{about.backend} ({about.isolation})"),
            ("machine", about.container_id),
            ("network", about.network),
            ("created", render.ago(about.created_at)),
            ("up", render.duration(live.uptime)),
            ("cpu", _of(None if live.cpu_percent is None else f"{live.cpu_percent:.0f} %", about.cpu_limit)),
            ("memory", _of(render.size(live.memory_bytes), f"{about.memory_limit} MB")),
            ("memory peak", render.size(live.memory_peak_bytes)),
            ("disk", _of(render.size(live.disk_bytes), f"{about.disk_limit} MB")),
            ("processes", live.processes),
            ("out of memory", live.oom_kills or None),
            ("executing now", live.executions),
            ("labels", ", ".join(f"{name}={value}" for name, value in about.labels.items())),
            *(("note", warning) for warning in about.warnings),
        )
    )


def delete(vms: VMArguments) -> None:
    """Delete VMs with their files; asks nothing.

    \b
    vm delete test-vm
    vm delete 3 4 5
    """
    from vmpool.client import Client, ClientError

    failures: list[ClientError] = []
    with Client() as client:
        for vm in vms:
            try:
                with render.busy(f"deleting {vm} ..."):
                    client.delete_vm(vm)
            except ClientError as error:
                failures.append(error)
            else:
                render.say(f"VM {vm} is deleted")
    for failure in failures[:-1]:
        render.problem(failure)
    if failures:
        raise failures[-1]


def _changed(vm: VM, as_json: bool) -> None:
    if as_json:
        render.show_json(vm)
    else:
        render.say(f"VM {vm.id} '{vm.name}' is {vm.status}")


def _of(used: str | None, limit: object) -> str:
    return f"{'unknown' if used is None else used} of {limit}"
