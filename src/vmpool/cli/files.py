"""Commands over the files of a VM: cp, ls, rm, sync, watch."""

from __future__ import annotations

import posixpath
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmpool.cli import render
from vmpool.cli.arguments import JSONOption

if TYPE_CHECKING:
    from vmpool.client import Client
    from vmpool.client.models import FileChange, FileInfo, RefusedFile

RemoteArgument = Annotated[
    str, typer.Argument(metavar="ID:PATH", help="A path in a VM; relative ones begin at its home directory.")
]
JustArgument = Annotated[
    str, typer.Argument(metavar="ID[:PATH]", help="A VM, or a path in it.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command()(cp)
    app.command()(ls)
    app.command()(rm)
    app.command()(sync)
    app.command()(watch)


@dataclass(frozen=True, slots=True)
class Remote:
    """A path in a VM; "" is its home directory."""

    vm: str
    path: str

    @property
    def named(self) -> str:
        """The path as a call takes it."""
        return self.path or "."


def remote(text: str) -> Remote | None:
    """`VM:PATH`; None for a path of this side, as anything with a slash before its first colon is."""
    vm, colon, path = text.partition(":")
    return Remote(vm, path) if colon and vm and "/" not in vm else None


def cp(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A path, or ID:PATH.")],
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A path, or ID:PATH; one of both is in a VM.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a file of which the beginning is there already.")
    ] = False,
) -> None:
    """Copy a file or a directory into a VM or out of it, with modes and times.

    Into a directory that is there it goes under its own name.

    \b
    vm cp data.csv test-vm:
    vm cp project test-vm:work/project
    vm cp test-vm:result.bin .
    """
    from vmpool.client import Client

    there, here = remote(target), remote(source)
    if (there is None) == (here is None):
        raise typer.BadParameter("exactly one of SOURCE and TARGET must be ID:PATH", param_hint="'SOURCE'")
    with Client() as client:
        if there is not None:
            _in(client, Path(source), there, resume)
        elif here is not None:
            _out(client, here, Path(target), resume)


def _in(client: Client, source: Path, target: Remote, resume: bool) -> None:
    if not source.exists():
        raise typer.BadParameter(f"No such file or directory: {source}", param_hint="'SOURCE'")
    files = client.files(target.vm)
    path = target.named
    if not target.path or target.path.endswith("/") or _is_directory(client, target):
        path = posixpath.join(path, source.resolve().name)
    with render.transfer(f"copying {source}") as progress:
        done = files.upload(source, path, resume=resume, progress=progress)
    _note_refused(getattr(done, "refused", []))


def _out(client: Client, source: Remote, target: Path, resume: bool) -> None:
    if target.is_dir():
        target /= posixpath.basename(source.path.rstrip("/")) or source.vm
    with render.transfer(f"copying {source.vm}:{source.path}") as progress:
        left_out = client.files(source.vm).download(source.named, target, resume=resume, progress=progress)
    for one in left_out:
        render.note(f"left out: {render.printable(one)}")


def _is_directory(client: Client, target: Remote) -> bool:
    from vmpool.client.errors import PathNotFound

    try:
        return client.files(target.vm).stat(target.named, follow=True).kind == "directory"
    except PathNotFound:
        return False


def ls(
    path: JustArgument,
    as_json: JSONOption = False,
) -> None:
    """List a directory of a VM, or show a file.

    \b
    vm ls test-vm
    vm ls test-vm:/tmp
    """
    from vmpool.client import Client

    where = remote(path) or Remote(path, "")
    with Client() as client:
        files = client.files(where.vm)
        about = files.stat(where.named, follow=True)
        found = files.list(where.named) if about.kind == "directory" else [about]
    if as_json:
        render.show_json(found)
        return
    render.table(
        ("mode", "size", "changed", "name"),
        ((_mode(one), one.size, render.ago(one.modified_at), _name(one)) for one in found),
    )


_LETTERS = {"file": "-", "directory": "d", "link": "l"}


def _mode(one: FileInfo) -> str:
    bits = int(one.mode, 8)
    shown = "".join(letter if bits >> 8 - at & 1 else "-" for at, letter in enumerate("rwxrwxrwx"))
    return _LETTERS.get(one.kind, "?") + shown


def _name(one: FileInfo) -> str:
    """A name on one line: what does not print is escaped."""
    name = render.printable(one.name)
    return f"{name} -> {render.printable(one.target or '')}" if one.kind == "link" else name


def rm(
    path: RemoteArgument,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="A directory with all it holds.")
    ] = False,
) -> None:
    """Remove a file, a link or a directory of a VM; asks nothing.

    \b
    vm rm test-vm:data.csv
    vm rm -r test-vm:project
    """
    from vmpool.client import Client

    where = _remote_only(path)
    with Client() as client:
        client.files(where.vm).remove(where.named, recursive=recursive)


def sync(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="What is here.", exists=True, file_okay=False)
    ],
    path: RemoteArgument,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is only in the VM.")] = False,
) -> None:
    """Make a directory of a VM like one here; only what has changed is sent.

    \b
    vm sync . test-vm:project
    vm sync --delete src test-vm:project/src
    """
    from vmpool.client import Client

    where = _remote_only(path)
    with Client() as client, render.transfer(f"sending {directory}") as progress:
        done = client.files(where.vm).sync(directory, where.named, delete=delete, progress=progress)
    _note_refused(done.refused)
    render.say(
        f"{done.sent} sent ({render.size(done.bytes)}), {done.removed} removed, {done.unchanged} unchanged"
    )


def watch(
    path: JustArgument,
    recursive: Annotated[
        bool, typer.Option("--recursive/--flat", help="Also what lies below the directory.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show what changes in a directory of a VM, or of one file, as it happens; Ctrl-C ends.

    \b
    vm watch test-vm
    vm watch test-vm:project --json
    """
    from vmpool.client import Client

    where = remote(path) or Remote(path, "")
    with (
        Client() as client,
        closing(client.files(where.vm).watch(where.named, recursive=recursive)) as changes,
    ):
        for change in changes:
            if as_json:
                render.say(change.model_dump_json(exclude_none=True))
            elif change.kind == "watching":
                render.note(f"watching {path}; Ctrl-C ends")
            else:
                render.say(_change(change, where.named))
            sys.stdout.flush()
    render.note(f"{path} is gone")


def _change(change: FileChange, watched: str) -> str:
    if change.kind == "lost":
        return "lost        some changes went by unseen: look anew"
    itself = "." if change.directory else watched
    name = render.printable(change.path or itself) + ("/" if change.directory else "")
    if change.moved_from is not None:
        name = f"{render.printable(change.moved_from)} -> {name}"
    return f"{change.kind:<10}  {name}"


def _remote_only(text: str) -> Remote:
    found = remote(text)
    if found is None:
        raise typer.BadParameter(f"'{text}' is not ID:PATH", param_hint="'ID:PATH'")
    return found


def _note_refused(refused: list[RefusedFile]) -> None:
    for one in refused:
        render.note(f"left out: {render.printable(one.name)}: {one.problem}")
