"""The command group `template`: kept files that VMs start from."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption, VMArgument, pairs
from vmpool.cli.snapshots import snapshot_id
from vmpool.cli.status import NOT_DONE

if TYPE_CHECKING:
    from vmpool.client import Client
    from vmpool.client.models import VM, Template

app = typer.Typer(
    no_args_is_help=True, help="Keep a VM's files as a template, and see what was made from what."
)

TemplateArgument = Annotated[str, typer.Argument(metavar="TEMPLATE", help="The template's name or id.")]


@app.command()
def publish(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Unique among your templates, and none of a built-in one.")
    ],
    vm: VMArgument,
    snapshot: Annotated[
        str | None,
        typer.Option("--snapshot", metavar="SNAPSHOT", help="What it kept, not the files as they are now."),
    ] = None,
    description: Annotated[str, typer.Option("--description", "-d", metavar="TEXT")] = "",
    as_json: JSONOption = False,
) -> None:
    """Keep a VM's files as a template of your own, which stays when the VM goes.

    \b
    vm template publish with-numpy test-vm
    vm create fresh --template with-numpy
    """
    from vmpool.client import Client

    with Client() as client, render.busy(f"publishing {vm} ..."):
        if snapshot is None:
            made = client.templates.publish(name, vm, description=description)
        else:
            number = snapshot_id(client, vm, snapshot)
            made = client.templates.publish(name, snapshot=number, description=description)
    if as_json:
        render.show_json(made)
    else:
        render.say(f"template {made.id} '{made.name}' from {made.parent}, {render.size(made.size)}")


@app.command()
def build(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the template; one of yours of this name makes way.")
    ],
    file: Annotated[
        Path,
        typer.Option("--file", "-f", metavar="FILE", help="A .toml file, or a Dockerfile.", dir_okay=False),
    ] = Path("template.toml"),
    context: Annotated[
        Path | None,
        typer.Option(
            "--context",
            metavar="DIR",
            help="What a Dockerfile copies from. Default: where it lies.",
            file_okay=False,
        ),
    ] = None,
    argument: Annotated[
        list[str] | None,
        typer.Option("--build-arg", metavar="NAME=VALUE", help="Of a Dockerfile's ARG; may be repeated."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do all steps, whatever is kept of earlier builds.")
    ] = False,
    memory: Annotated[int | None, typer.Option(metavar="MB", help="Of the VM it is built in.")] = None,
    disk: Annotated[int | None, typer.Option(metavar="MB", help="Of it, and of VMs from it.")] = None,
    background: Annotated[
        bool, typer.Option("--background", help="Print the build's id at once; 'vm template log' follows it.")
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Build a template in a VM of its own, step by step, and show what that writes.

    Steps that an earlier build began with are not done again.

    \b
    vm template build with-numpy -f template.toml
    vm template build with-make -f Dockerfile --build-arg VERSION=3.13
    """
    from vmpool.cli.template_files import NoTemplate, read_template
    from vmpool.client import Client

    try:
        found = read_template(file, context, pairs(argument, "--build-arg"))
    except (OSError, NoTemplate) as error:
        raise typer.BadParameter(str(error), param_hint="'--file'") from error
    with Client() as client:
        begun = client.templates.build(
            name,
            found.base,
            found.steps,
            description=found.description,
            language=found.language,
            replace=True,
            fresh=fresh,
            memory_limit=memory,
            disk_limit=disk,
        )
        if background:
            if as_json:
                render.show_json(begun)
            else:
                render.say(str(begun.id))
            return
        _follow(client, begun.id, as_json)


@app.command()
def log(
    build: Annotated[int, typer.Argument(metavar="BUILD", help="The build's id: 'vm template builds'.")],
    as_json: JSONOption = False,
) -> None:
    """Show what a build writes, until it has ended."""
    from vmpool.client import Client

    with Client() as client:
        _follow(client, build, as_json)


@app.command()
def builds(as_json: JSONOption = False) -> None:
    """List your builds, newest first: those under way, and the last that ended."""
    from vmpool.client import Client

    with Client() as client:
        found = client.templates.builds()
    if as_json:
        render.show_json(found)
    else:
        rows = (
            (
                one.id,
                one.name,
                one.base,
                one.state,
                f"{one.done}/{len(one.steps)}",
                render.ago(one.created_at),
            )
            for one in found
        )
        render.table(("id", "name", "from", "state", "steps", "begun"), rows)


@app.command()
def cancel(
    build: Annotated[int, typer.Argument(metavar="BUILD", help="The build's id: 'vm template builds'.")],
) -> None:
    """End a build that is under way."""
    from vmpool.client import Client

    with Client() as client:
        client.templates.cancel_build(build)


def _follow(client: Client, build: int, as_json: bool) -> None:
    """Show its log, and end with 125 unless there is a template."""
    with contextlib.closing(client.templates.follow(build)) as pieces:
        for piece in pieces:
            if not as_json:
                sys.stdout.write(piece)
                sys.stdout.flush()
    ended = client.templates.get_build(build)
    if as_json:
        render.show_json(ended)
    if ended.state != "ready":
        render.note(f"vm: build {ended.id} of '{ended.name}' {ended.state}: {ended.failure}")
        raise typer.Exit(NOT_DONE)


@app.command(name="list")
def list_(as_json: JSONOption = False) -> None:
    """List your templates and those that are shared, newest first; 'vm pool' has the built-in ones."""
    from vmpool.client import Client

    with Client() as client:
        found = client.templates.list()
    if as_json:
        render.show_json(found)
    else:
        render.table(
            ("id", "name", "from", "language", "size", "shared", "created"),
            (
                (
                    one.id,
                    one.name,
                    one.parent,
                    one.language,
                    render.size(one.size),
                    "yes" if one.shared else "",
                    render.ago(one.created_at),
                )
                for one in found
            ),
        )


@app.command()
def show(template: TemplateArgument, as_json: JSONOption = False) -> None:
    """Show one template."""
    from vmpool.client import Client

    with Client() as client:
        one = client.templates.get(template)
    if as_json:
        render.show_json(one)
        return
    render.facts(
        (
            ("template", f"{one.id} '{one.name}'"),
            ("description", one.description),
            ("from", one.parent),
            ("stands on", one.base),
            ("language", one.language),
            ("backend", one.backend),
            ("size", render.size(one.size)),
            ("disk", f"at least {one.disk} MB"),
            ("shared", "with everybody" if one.shared else None),
            ("created", render.ago(one.created_at)),
        )
    )


@app.command()
def share(
    template: TemplateArgument,
    off: Annotated[bool, typer.Option("--off", help="No more: VMs made from it stay.")] = False,
) -> None:
    """Let everybody make VMs from a template of yours; administrators only."""
    from vmpool.client import Client

    with Client() as client:
        client.templates.change(template, shared=not off)


@app.command()
def delete(
    templates: Annotated[
        list[str], typer.Argument(metavar="TEMPLATE...", help="Names or ids.", show_default=False)
    ],
) -> None:
    """Delete templates; VMs that were made from them stay as they are."""
    from vmpool.client import Client

    with Client() as client:
        for template in templates:
            client.templates.delete(template)


@app.command()
def tree(as_json: JSONOption = False) -> None:
    """Show what was made from what: built-in templates, yours and shared ones, and your VMs.

    \b
    vm template tree
    """
    from vmpool.client import Client

    with Client() as client:
        templates, vms = client.templates.list(), client.list_vms()
    nodes = list(parentage(templates, vms))
    if as_json:
        render.show_json([{"depth": depth, "kind": kind, "name": name} for depth, kind, name in nodes])
    for depth, kind, name in [] if as_json else nodes:
        render.say(f"{'  ' * depth}{name}{'' if kind == 'builtin' else f' ({kind})'}")


def parentage(templates: Sequence[Template], vms: Sequence[VM]) -> Iterator[tuple[int, str, str]]:
    """Each template and VM below what it was made from, as depth, kind and name.  Pure.

    What was made from a template that is gone stands below that one's name.
    """
    known = {one.id for one in templates}
    below: dict[int | str, list[tuple[str, int, str]]] = {}  # kind, id, name
    builtin: set[str] = set()
    for kind, number, name, parent_id, parent in (
        *(("template", one.id, one.name, one.parent_id, one.parent) for one in reversed(templates)),
        *(("VM", vm.id, vm.name, vm.template_id, vm.template) for vm in reversed(vms)),
    ):
        if parent_id is None:
            builtin.add(parent)
        below.setdefault(parent_id if parent_id in known else parent, []).append((kind, number, name))

    def lines(parent: int | str, depth: int) -> Iterator[tuple[int, str, str]]:
        for kind, number, name in below.get(parent, ()):
            yield depth, kind, name
            if kind == "template":
                yield from lines(number, depth + 1)

    for root in sorted(key for key in below if isinstance(key, str)):
        yield 0, "builtin" if root in builtin else "deleted template", root
        yield from lines(root, 1)
