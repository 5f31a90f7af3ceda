"""The `vm` command: parsing and rendering only, over the SDK."""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALLED = 128


def main() -> None:
    """Run the command line of this process and exit."""
    from vmpool.cli.command import run

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    raise SystemExit(run())


def _end(number: int, frame: FrameType | None) -> None:
    """End as after this signal, but leave every block on the way: `vm run` deletes its VM."""
    raise SystemExit(_SIGNALLED + number)
