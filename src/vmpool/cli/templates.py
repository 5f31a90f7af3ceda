"""The command group `template`: kept files that VMs start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption, VMArgument
from vmpool.cli.snapshots import snapshot_id

if TYPE_CHECKING:
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
