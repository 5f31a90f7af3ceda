"""The command that says what this host can enforce."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption
from vmpool.cli.status import FAILED
from vmpool.client import local

if TYPE_CHECKING:
    from vmpool.doctor import Report, Way


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(doctor)


def doctor(
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail unless some way holds every limit hard.")
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Say what this host can and cannot enforce, and how to fix it.

    Each way to run VMs is tried by making one and removing it.  Needs no server.  Exit status: 0 where VMs
    can be run here, else 1; with --strict, 1 also where no way holds every limit.

    \b
    vm doctor
    vm doctor --strict --json
    """
    local.require_server()
    from vmpool.doctor import examine
    from vmpool.settings import load_settings

    with render.busy("looking at this host, and making a VM in each way ..."):
        report = examine(load_settings())
    if as_json:
        render.show_json({**asdict(report), "usable": report.usable, "complete": report.complete})
    else:
        _show(report)
    if not report.usable or (strict and not report.complete):
        raise typer.Exit(FAILED)


def _show(report: Report) -> None:
    render.table(
        ("this host has", "", "what was found"),
        ((finding.subject, finding.answer.value, finding.found) for finding in report.host),
    )
    render.say("")
    render.table(
        ("a VM by", "isolation", "", "what was found"),
        ((way.name, way.isolation, way.answer.value, way.found) for way in report.ways),
    )
    for way in report.ways:
        if way.limits:
            render.say("")
            render.table(
                (way.name, "hard", "held by"),
                ((limit.name, limit.answer.value, limit.by) for limit in way.limits),
            )
    if report.remedies:
        render.say("\nWhat would make it better:")
        for remedy in report.remedies:
            render.say(textwrap.indent(remedy, "    ").replace("    ", "  - ", 1))
    render.say(f"\n{_verdict(report)}")


def _verdict(report: Report) -> str:
    complete = [way for way in report.ways if way.holds_everything]
    if complete:
        return f"VMs can be run here, and every limit is hard with {_named(complete)}."
    if report.usable:
        return "VMs can be run here, but in no way is every limit hard: see above what holds which."
    return "VMs cannot be run here."


def _named(ways: list[Way]) -> str:
    return " or ".join(way.name for way in ways)
