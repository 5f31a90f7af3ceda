"""Commands that run code: execute, batch, run, and logs."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vmpool.cli import jobs, render, results, streams
from vmpool.cli.arguments import (
    EnvOption,
    JSONOption,
    LanguageOption,
    TimeoutOption,
    VMArgument,
    pairs,
    reference,
    vm_names,
)
from vmpool.cli.jobs import JUnitOption, ProjectOption, SetupOption
from vmpool.cli.status import FAILED, NOT_DONE
from vmpool.client.languages import SUFFIXES

if TYPE_CHECKING:
    from vmpool.client.models import BatchError, Execution
    from vmpool.client.options import ProcessLimits, RunOptions

CodeArgument = Annotated[
    str | None,
    typer.Argument(metavar="CODE", help="Source text; '-' reads it from standard input.", show_default=False),
]
FileOption = Annotated[Path | None, typer.Option("--file", "-f", help="Read the code from this file.")]
CommandOption = Annotated[
    str | None, typer.Option("--command", "-c", help="A shell command line, instead of code.")
]
SecretOption = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME", help="One of your secrets as a variable; may be repeated."),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=N",
        help="Of each of its processes: cpu_seconds, memory (MB), file_size (MB), open_files.",
    ),
]
StdinOption = Annotated[bool, typer.Option("--stdin", help="Pass standard input to the program.")]

_LIMITS: tuple[Literal["cpu_seconds", "memory", "file_size", "open_files"], ...] = (
    "cpu_seconds",
    "memory",
    "file_size",
    "open_files",
)

RUN_TTL = 900
"""Seconds after which a VM of `vm run` is deleted even if this process is gone: the longest run and a bit."""


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(execute)
    app.command()(batch)
    app.command()(run)
    app.command()(logs)
    app.command()(output)


def execute(
    vm: VMArgument,
    code: CodeArgument = None,
    file: FileOption = None,
    command: CommandOption = None,
    language: LanguageOption = None,
    timeout: TimeoutOption = None,
    env: EnvOption = None,
    cwd: Annotated[str | None, typer.Option(help="Default: /home/user.", show_default=False)] = None,
    stdin: StdinOption = False,
    secret: SecretOption = None,
    limit: LimitOption = None,
    background: Annotated[
        bool, typer.Option("--background", "-b", help="Begin it, print its id and leave it running.")
    ] = False,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Show output as it comes, pass --stdin on as it comes, and end the program on Ctrl-C."
            " Default: on a terminal.",
            show_default=False,
        ),
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Execute code in a running VM; ends with the program's own exit status.

    \b
    vm execute test-vm "print('Hello from VM!')"
    vm execute test-vm - < program.py
    vm execute test-vm --file program.py --timeout 10
    vm execute test-vm --command "ls -l"
    vm execute test-vm --secret API_TOKEN --file deploy.py
    vm execute test-vm --limit cpu_seconds=5 --limit memory=64 --file program.py
    echo 21 | vm execute test-vm --stdin "print(int(input()) * 2)"
    vm execute test-vm --background --command "python3 -m http.server 8000"
    """
    from vmpool.client import Client

    text = _source(code, file, command, stdin)
    streamed = not as_json and not background and (sys.stdout.isatty() if stream is None else stream)
    options = _options(command, language, timeout, env, stdin and not streamed)
    options["cwd"] = cwd
    options["secrets"] = secret
    options["limits"] = process_limits(limit)
    with Client() as client:
        if background:
            begun = client.begin(vm, text, **options)
            if as_json:
                render.show_json(begun)
            else:
                render.say(str(begun.id))
            return
        if streamed:
            result = streams.run(client, vm, text, options, stdin=stdin)
            results.explain(result)
            raise typer.Exit(results.exit_status(result))
        with _said_to_go_on():
            result = client.execute(vm, text, **options)
        if as_json:
            render.show_json(result)
        else:
            results.replay(result, client)
    raise typer.Exit(results.exit_status(result))


def batch(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CODE", help="Source text; '-' reads it from standard input.", show_default=False
        ),
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option(
            "--templates",
            metavar="NAME,NAME",
            help="In a VM made for it of each of these instead; then comes '--' and a command.",
        ),
    ] = None,
    project: ProjectOption = None,
    setup: SetupOption = None,
    vm: Annotated[
        list[str] | None,
        typer.Option(
            "--vm", metavar="ID", help="In this VM; may be repeated. Default: all.", autocompletion=vm_names
        ),
    ] = None,
    file: FileOption = None,
    command: CommandOption = None,
    language: LanguageOption = None,
    timeout: TimeoutOption = None,
    env: EnvOption = None,
    stdin: StdinOption = False,
    junit: JUnitOption = None,
    as_json: JSONOption = False,
) -> None:
    """Execute code in all running VMs at once, and show each result as it comes.

    Exit status: 0 when every program exited with 0, 1 when one did not, 125 when a VM could not run it.

    \b
    vm batch "import sys; print(sys.version)"
    vm batch --vm one --vm two --command "uname -a"
    vm batch --templates python,nodejs --project . -- make test
    """
    from vmpool.client import Client

    if templates is not None:
        if vm or file or language or env or stdin:
            raise typer.BadParameter(
                "goes with --project, --setup, --timeout, --junit and a command only",
                param_hint="'--templates'",
            )
        jobs.over_templates(
            templates,
            words or (),
            shell=command,
            project=project,
            setup=setup,
            timeout=timeout,
            junit=junit,
            as_json=as_json,
        )
    if any((project, setup, junit)) or len(words or ()) > 1:
        raise typer.BadParameter("--project, --setup, --junit and several words are for --templates")
    code = words[0] if words else None
    text = _source(code, file, command, stdin)
    options = _options(command, language, timeout, env, stdin)
    chosen = [reference(one) for one in vm] if vm else None
    with Client() as client:
        vms = client.list_vms()
        names = {one.id: one.name for one in vms}
        count = len(chosen) if chosen else sum(one.status == "running" for one in vms)
        results: dict[int, Execution | BatchError] = {}
        with (
            _said_to_go_on(),
            render.progress(f"executing: 0 of {count} VMs are done") as progress,
            contextlib.closing(client.batch_stream(text, chosen, **options)) as arrivals,
        ):
            for place, result in arrivals:
                results[place] = result
                progress.update(f"executing: {len(results)} of {count} VMs are done")
                if not as_json:
                    with progress.aside():
                        _show_item(result, names)
    if as_json:
        render.show_json([results[place] for place in sorted(results)])
    elif not results:
        render.note("no VM is running")
    raise typer.Exit(_exit_status_of_batch(results.values()))


def run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The program; '-' reads it from standard input.")
    ],
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="Default: by the file's suffix.")
    ] = None,
    timeout: TimeoutOption = None,
    env: EnvOption = None,
    cpu: Annotated[float | None, typer.Option(metavar="CORES", help="Default: 1.")] = None,
    memory: Annotated[int | None, typer.Option(metavar="MB", help="Default: 512.")] = None,
    as_json: JSONOption = False,
) -> None:
    """Run a file in a VM made for it and deleted afterwards; ends with the program's own exit status.

    Standard input goes to the program where it is a pipe or a file.

    \b
    vm run program.py
    echo 21 | vm run double.py
    vm run - --language bash < script.sh
    """
    from vmpool.client import Client

    from_stdin = str(file) == "-"
    language = language or SUFFIXES.get(file.suffix.lower())
    if language is None:
        raise typer.BadParameter(
            f"cannot tell the language of '{file}'; name one of {', '.join(sorted(set(SUFFIXES.values())))}",
            param_hint="'--language'",
        )
    code = _standard_input("'FILE'") if from_stdin else _text_of(file, "'FILE'")
    stdin = _piped_input() if not from_stdin else None
    with Client() as client:
        with render.busy("creating a VM ..."):
            made = client.create_vm(
                f"run-{secrets.token_hex(4)}",
                language,
                cpu_limit=cpu,
                memory_limit=memory,
                ttl=RUN_TTL,
                labels={"made-by": "vm run"},
            )
        with made as vm:
            result = vm.execute(code, timeout=timeout, env=pairs(env, "--env"), stdin=stdin)
        if as_json:
            render.show_json(result)
        else:
            results.replay(result, client)
    raise typer.Exit(results.exit_status(result))


def logs(
    vm: VMArgument,
    tail: Annotated[
        int | None, typer.Option(metavar="N", help="The last N executions only. Default: 100.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-F", help="Go on as output comes; Ctrl-C ends.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show what a VM's executions wrote: standard output here, standard error there.

    \b
    vm logs test-vm --tail 20
    vm logs test-vm --follow
    """
    from vmpool.client import Client

    with Client() as client:
        for entry in client.follow_logs(vm, tail) if follow else client.logs(vm, tail):
            if as_json:
                render.say(entry.model_dump_json())
            else:
                if entry.skipped:
                    render.note(f"vm: {entry.skipped} characters came faster than they were read")
                results.write(entry.stream == "stderr", entry.text)
            sys.stdout.flush()


def output(
    vm: VMArgument,
    execution: Annotated[int, typer.Argument(metavar="EXECUTION", help="The execution's id.")],
    stderr: Annotated[bool, typer.Option("--stderr", help="Standard error instead of output.")] = False,
    offset: Annotated[int, typer.Option(min=0, metavar="BYTES", help="Leave out the first BYTES.")] = 0,
) -> None:
    """Write one execution's output, whole and byte by byte, to standard output.

    \b
    vm output test-vm 17 > output.bin
    vm output test-vm 17 --stderr | tail
    """
    from vmpool.client import Client

    with (
        Client() as client,
        contextlib.closing(
            client.output(vm, execution, "stderr" if stderr else "stdout", offset=offset)
        ) as pieces,
    ):
        for piece in pieces:
            results.write_bytes(False, piece)


def _source(code: str | None, file: Path | None, command: str | None, stdin: bool) -> str | None:
    """The source text from the one place that was named; None where a command was."""
    if [code is not None, file is not None, command is not None].count(True) != 1:
        raise typer.BadParameter("give exactly one of CODE, --file and --command", param_hint="'CODE'")
    if file is not None:
        return _text_of(file, "'--file'")
    if code == "-":
        if stdin:
            raise typer.BadParameter("standard input is the code already", param_hint="'--stdin'")
        return _standard_input("'CODE'")
    return code


def _text_of(file: Path, hint: str) -> str:
    """What the file holds.  hint: the parameter that named it."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{error.strerror}: {file}", param_hint=hint) from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"not UTF-8 text: {file}", param_hint=hint) from error


def _standard_input(hint: str) -> str:
    """All of standard input, as UTF-8 whatever the locale.  hint: the parameter that asked for it."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(
            "standard input is not UTF-8 text, and only text can be sent; for other bytes: "
            "base64 FILE | vm execute ID --stdin --command 'base64 -d > FILE'",
            param_hint=hint,
        ) from error


def _options(
    command: str | None, language: str | None, timeout: float | None, env: list[str] | None, stdin: bool
) -> RunOptions:
    return {
        "command": command,
        "language": language,
        "timeout": timeout,
        "env": pairs(env, "--env"),
        "stdin": _standard_input("'--stdin'") if stdin else None,
    }


def process_limits(given: list[str] | None) -> ProcessLimits | None:
    """What `--limit NAME=N` says, which may come several times."""
    found = pairs(given, "--limit")
    if not found:
        return None
    for name, value in found.items():
        if name not in _LIMITS:
            raise typer.BadParameter(f"'{name}' is none of {', '.join(_LIMITS)}", param_hint="'--limit'")
        if not value.isdecimal():
            raise typer.BadParameter(f"'{value}' is not a whole number", param_hint="'--limit'")
    limits: ProcessLimits = {}
    for name in _LIMITS:
        if name in found:
            limits[name] = int(found[name])
    return limits


@contextlib.contextmanager
def _said_to_go_on() -> Iterator[None]:
    """Around an execution in a VM that stays: a signal ends this command, not the program."""
    try:
        yield
    except SystemExit:  # of the signal
        render.note("vm: the program goes on in the VM, until its time limit; 'vm cancel' ends it")
        raise


def _piped_input() -> str | None:
    """Standard input where somebody put something there on purpose: a pipe or a file."""
    mode = os.fstat(0).st_mode
    return _standard_input("standard input") if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) else None


def _show_item(result: Execution | BatchError, names: dict[int, str]) -> None:
    name = names.get(result.vm_id, "") if isinstance(result.vm_id, int) else ""
    who = f"VM {result.vm_id}" + (f" '{name}'" if name else "")
    if result.exit_code is None:
        render.say(f"--- {who}: no result")
        render.note(f"vm: {who}: {result.error or 'no result'}")
        return
    render.say(f"--- {who}: exit {result.exit_code}")
    sys.stdout.flush()
    results.replay(result)
    last = result.error or result.output
    if sys.stdout.isatty() and last and not last.endswith("\n"):
        render.say("")  # the spinner would take the line


def _exit_status_of_batch(results: Collection[Execution | BatchError]) -> int:
    from vmpool.client.models import BatchError

    if any(isinstance(result, BatchError) for result in results):
        return NOT_DONE
    return 0 if all(result.ok for result in results) else FAILED
