"""What is shown, and where: data on standard output, everything else on standard error.

Colour, boxes and spinners are for terminals; rich leaves colour out where NO_COLOR is set.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vmpool.client.errors import APIError, ClientError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.status import Status

_HINTS = {
    "no_server": "",
    "server_unreachable": "Is the server running?  'vm serve' starts one; VMPOOL_URL says where it is.",
    "unexpected_answer": "Check VMPOOL_URL: another service may listen there.",
    "unauthenticated": "Set VMPOOL_API_KEY to a valid key; 'vm key create' makes one.",
    "insufficient_scope": "'vm key list' shows what your keys may do; 'vm key create --scope' makes another.",
    "user_not_found": "'vm user list' shows the users.",
    "vm_not_found": "'vm list' shows your VMs.",
    "path_not_found": "'vm ls ID:PATH' shows what is there.",
    "disk_full": "'vm status ID' shows the disk; 'vm limits ID --disk MB' enlarges that of a stopped VM.",
    "snapshot_not_found": "'vm snapshots ID' shows a VM's snapshots.",
    "vm_not_running": "'vm start ID' starts it.",
    "name_taken": "Choose another name, or 'vm delete NAME' first.",
    "quota_exceeded": "'vm list' shows your VMs; 'vm delete ID' makes room.",
    "pool_full": "'vm pool' shows what is in use.  Try again later, or ask for less.",
    "template_not_found": "'vm template list' lists yours, 'vm pool' those of this server.",
}
"""What to do next, by error code."""


def show_json(value: BaseModel | Mapping[str, object] | Sequence[BaseModel | Mapping[str, object]]) -> None:
    """`value` as JSON; models as the API sends them."""
    plain = [_plain(item) for item in value] if isinstance(value, Sequence) else _plain(value)
    say(json.dumps(plain, indent=2, ensure_ascii=False))


def _plain(value: BaseModel | Mapping[str, object]) -> object:
    return value if isinstance(value, Mapping) else value.model_dump(mode="json", by_alias=True)


def say(text: str) -> None:
    """A line of data, there at once: what reads a pipe may wait for it while the command goes on."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for people, beside the data."""
    sys.stderr.write(text + "\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings: a drawn table on a terminal, else columns filled with spaces."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for heading in headings:
            # A narrow terminal cuts nothing off, and breaks what is typed again (ids and names) last.
            drawn.add_column(heading, overflow="fold", no_wrap=heading in {"id", "name"})
        for row in cells:
            drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        Console().print(drawn)
        return
    lines = [[heading.upper() for heading in headings], *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


_STYLES = {
    "running": "green",
    "paused": "cyan",
    "stopped": "yellow",
    "error": "bold red",
    "yes": "green",
    "partly": "yellow",
    "no": "red",
}


def facts(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair a line; what is not known is left out."""
    known = [(name, value) for name, value in rows if value not in (None, "")]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        say(f"{name.ljust(width)}  {value}")


@contextmanager
def busy(doing: str) -> Iterator[None]:
    """A spinner beside `doing` on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(doing):
        yield


@contextmanager
def progress(doing: str) -> Iterator[Progress]:
    """A spinner on a terminal beside which results are shown as they come; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield Progress(None)
        return
    from rich.console import Console

    with Console(stderr=True).status(doing) as status:
        yield Progress(status)


class Progress:
    """How far something is."""

    def __init__(self, status: Status | None) -> None:
        self._status = status

    def update(self, doing: str) -> None:
        """Another text beside the spinner."""
        if self._status is not None:
            self._status.update(doing)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A block that writes to the terminal: the spinner makes room for it."""
        if self._status is not None:
            self._status.stop()
        yield
        sys.stdout.flush()
        if self._status is not None:
            self._status.start()


@contextmanager
def steps(doing: str) -> Iterator[Callable[[str], None]]:
    """A spinner on a terminal whose text can be replaced by what is called with; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    with console.status(doing) as status:
        yield lambda text: status.update(Text(text[: console.width - 4]))


@contextmanager
def transfer(doing: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal for bytes that move, of how many where that is known; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(doing, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def problem(error: ClientError) -> None:
    """One readable block: what went wrong, whether code may have run, what to do next."""
    lines = [f"vm: {error.message}"]
    if error.dispatch == "outcome_unknown":
        lines.append("  It is not known whether it was carried out: look before you repeat it.")
    hint = _HINTS.get(error.code)
    if hint:
        lines.append(f"  {hint}")
    elif hint is None and error.retryable and error.dispatch != "outcome_unknown":
        lines.append("  Trying again may help.")
    if isinstance(error, APIError) and error.status >= 500 and error.request_id:
        lines.append(f"  Request {error.request_id} in the server's log.")
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True).print(Text(lines[0], style="bold red"))
        lines = lines[1:]
    for line in lines:
        note(line)


def printable(text: str) -> str:
    """Text from a VM on one line: what would move the cursor is escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def size(count: int | None) -> str | None:
    """Bytes for people, in units of 1024."""
    if count is None:
        return None
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GB"


def ago(moment: datetime | None) -> str:
    """How long ago a moment was, roughly."""
    if moment is None:
        return ""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f"{duration((datetime.now(UTC) - aware).total_seconds())} ago"


def duration(seconds: float | None) -> str | None:
    """Seconds for people."""
    if seconds is None:
        return None
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
