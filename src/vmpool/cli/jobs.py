"""Commands that run the same work many times: over templates, over inputs, over a test suite's files."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from vmpool.cli import live, render
from vmpool.cli.arguments import JSONOption, TimeoutOption
from vmpool.cli.status import FAILED, NOT_DONE
from vmpool.client.languages import SUFFIXES

if TYPE_CHECKING:
    from vmpool.client import Client
    from vmpool.client.jobs import JobResult, Told
    from vmpool.client.options import VMOptions

VMsOption = Annotated[int, typer.Option("--vms", metavar="N", help="VMs at once.", min=1)]
JUnitOption = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML.")
]
ProjectOption = Annotated[
    Path | None,
    typer.Option(
        "--project", metavar="DIR", help="Each VM gets a copy, and runs in it.", exists=True, file_okay=False
    ),
]
SetupOption = Annotated[
    str | None,
    typer.Option("--setup", metavar="COMMAND", help="Prepares each VM before its first job."),
]
TemplateOption = Annotated[
    str | None, typer.Option("--template", metavar="NAME", help="What the VMs are made from.")
]
MemoryOption = Annotated[int | None, typer.Option(metavar="MB", help="Of each VM. Default: 512.")]


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command(name="map")(map_)
    app.command()(shard)


def map_(
    program: Annotated[Path, typer.Argument(metavar="PROGRAM", help="A program file.", exists=True)],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files.", exists=True)],
    vms: VMsOption = 4,
    template: TemplateOption = None,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="Default: by the program's suffix.")
    ] = None,
    setup: SetupOption = None,
    timeout: TimeoutOption = None,
    memory: MemoryOption = None,
    junit: JUnitOption = None,
    as_json: JSONOption = False,
) -> None:
    """Run a program once for each input, in a few VMs made for it; its path there is in the variable INPUT.

    A job whose VM or server failed is run again, in a fresh VM; a program that failed is not. Exit status: 0
    when every program exited with 0, 1 when one did not, 125 when one has no result.

    \b
    vm map job.py inputs/*.csv --vms 8
    vm map count.sh logs/*.log --junit results.xml
    """
    language = language or SUFFIXES.get(program.suffix.lower())
    if language is None:
        raise typer.BadParameter(f"cannot tell the language of '{program}'", param_hint="'--language'")
    options: VMOptions = {"template": template, "memory_limit": memory}
    _run(
        [str(one) for one in inputs],
        lambda client, told: client.jobs.map(
            program,
            inputs,
            language=language,
            timeout=timeout,
            vms=vms,
            setup=setup,
            told=told,
            **options,
        ),
        program.name,
        junit,
        as_json,
    )


def shard(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Test files, as the project has them.")
    ],
    command: Annotated[str, typer.Option("--command", "-c", help="What runs one of them.")],
    vms: VMsOption = 4,
    template: TemplateOption = None,
    project: ProjectOption = None,
    setup: SetupOption = None,
    timeout: TimeoutOption = None,
    memory: MemoryOption = None,
    junit: JUnitOption = None,
    as_json: JSONOption = False,
) -> None:
    """Run a test suite in several VMs at once: whichever is free takes the next file, the longest first.

    The file takes the place of the word {} of the command, or comes last. How long each took is kept in the
    project's .vmpool-durations.json. Exit status as of `vm map`.

    \b
    vm shard tests/test_*.py --command "python3 -m unittest"
    vm shard tests/test_*.py --setup "pip install ." --command "pytest -q {}" --vms 8 --junit results.xml
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise typer.BadParameter(f"{error}", param_hint="'--command'") from error
    where = project or Path()
    options: VMOptions = {"template": template, "memory_limit": memory}
    _run(
        files,
        lambda client, told: client.jobs.shard(
            words, files, timeout=timeout, vms=vms, project=where, setup=setup, told=told, **options
        ),
        "shard",
        junit,
        as_json,
    )


def over_templates(
    templates: str,
    words: Sequence[str],
    *,
    shell: str | None,
    project: Path | None,
    setup: str | None,
    timeout: float | None,
    junit: Path | None,
    as_json: bool,
) -> NoReturn:
    """A command once in a VM of each of these templates, named between commas."""
    names = list(dict.fromkeys(name for name in templates.split(",") if name))
    if not names:
        raise typer.BadParameter("names no template", param_hint="'--templates'")
    if (shell is None) == (not words):
        raise typer.BadParameter("give a command after '--', or --command", param_hint="'--templates'")
    command = shlex.join(words) if shell is None else shell
    _run(
        names,
        lambda client, told: client.jobs.over_templates(
            names, command=command, timeout=timeout, project=project, setup=setup, told=told
        ),
        command,
        junit,
        as_json,
    )


def _run(
    names: Sequence[str],
    work: Callable[[Client, Told], list[JobResult]],
    suite: str,
    junit: Path | None,
    as_json: bool,
) -> NoReturn:
    from vmpool.client import Client
    from vmpool.client.reports import junit as written

    with Client() as client, live.board(names) as told:
        found = work(client, told)
    if junit is not None:
        try:
            junit.write_text(written(suite, found), encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"{error.strerror}: {junit}", param_hint="'--junit'") from error
    if as_json:
        render.show_json([_plain(result) for result in found])
    else:
        live.summary(found)
    raise typer.Exit(_exit_status(found))


def _plain(result: JobResult) -> dict[str, object]:
    execution, problem = result.execution, result.problem
    return {
        "name": result.job.name,
        "template": result.job.template,
        "vm": result.vm,
        "attempts": result.attempts,
        "seconds": result.seconds,
        "execution": None if execution is None else execution.model_dump(mode="json"),
        "problem": None if problem is None else {"code": problem.code, "message": problem.message},
    }


def _exit_status(found: Sequence[JobResult]) -> int:
    if any(result.execution is None for result in found):
        return NOT_DONE
    return 0 if all(result.ok for result in found) else FAILED
