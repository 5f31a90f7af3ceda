"""A vmpool server that notes when an execution passes each place: `python -m bench.traced_server FILE`.

Every mark is a name and a time of CLOCK_MONOTONIC in nanoseconds, which all processes of a host share.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmpool import app, http_server
from vmpool.agent.connection import Connection
from vmpool.agent.link import AgentLink
from vmpool.agent.messages import Message
from vmpool.agent.process import RemoteProcess
from vmpool.api.shortcut import ExecuteShortcut
from vmpool.store.statement import Statement

MARKS: list[tuple[str, int]] = []


def mark(name: str, at: int | None = None) -> None:
    """Note that a place was passed, now or at `at`."""
    MARKS.append((name, time.monotonic_ns() if at is None else at))


def around(owner: type, name: str, before: str | None = None, after: str | None = None) -> None:
    """Mark the beginning and the end of a method."""
    inner: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(inner)
    def traced(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            mark(before)
        result = inner(*args, **kwargs)
        if after is not None:
            mark(after)
        return result

    setattr(owner, name, traced)


def _trace_frames() -> None:
    inner = AgentLink._on_frame

    def on_frame(self: AgentLink, frame: Any) -> None:
        if frame.type == Message.EXITED:
            mark("end arrived")
        inner(self, frame)

    AgentLink._on_frame = on_frame  # type: ignore[method-assign]
    ended = RemoteProcess.on_exited

    def on_exited(self: RemoteProcess, frame: Any) -> None:
        ended(self, frame)
        exit = self._exit
        assert exit is not None
        mark("program's time", int(exit.duration * 1e9))

    RemoteProcess.on_exited = on_exited  # type: ignore[method-assign]


def main() -> int:
    """Serve with the settings of the environment; write the marks when the server ends."""
    around(http_server._Protocol, "data_received", before="request read")
    around(ExecuteShortcut, "_execute", before="caller known")
    around(Statement, "run_on_driver", before="row begun", after="row written")
    around(Connection, "send", after="order sent")
    around(http_server._Gathering, "_flush", before="answer sent")
    _trace_frames()
    try:
        return app.main()
    finally:
        Path(sys.argv[1]).write_text(json.dumps(MARKS))


if __name__ == "__main__":
    sys.exit(main())
