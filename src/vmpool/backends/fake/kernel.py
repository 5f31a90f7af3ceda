"""The Python of a context in a fake machine: says what `kernel_python.py` says, of the fake's own Python."""

from __future__ import annotations

import json
from collections.abc import Mapping

import anyio

from vmpool.backends.fake.process import Exited, Inside, Interrupt, Much
from vmpool.backends.fake.python import Session


class _Cell:
    """The process as the cells see it: what they write is sent as messages."""

    interrupt: Interrupt | None = None

    def __init__(self, inside: Inside) -> None:
        self.argv = inside.argv
        self.env: Mapping[str, str] = inside.env
        self.cwd = inside.cwd
        self.files = inside.files
        self.hostname = inside.hostname
        self.pid = inside.pid
        self.number = 0
        self._inside = inside

    async def write(self, stream: int, data: bytes) -> None:
        name = "stderr" if stream == 2 else "stdout"
        await self.say(t="text", n=self.number, s=name, d=data.decode("utf-8", "replace"))

    async def read(self, much: Much = "all") -> bytes:
        return b""

    async def say(self, **message: object) -> None:
        await self._inside.write(1, json.dumps(message).encode() + b"\n")


async def run_kernel(inside: Inside) -> int:
    """Until the end of standard input."""
    cell = _Cell(inside)
    session = Session(cell)
    await cell.say(t="ready")
    while line := await inside.read("line"):
        try:
            request = json.loads(line)
        except ValueError:
            continue
        if "sync" in request:
            await cell.say(t="sync", c=request["sync"], n=cell.number)
            continue
        cell.number = request["n"]
        with anyio.CancelScope() as scope:
            inside.interrupt = scope.cancel
            try:
                problem, value = await session.run(request["code"], f"<cell {cell.number}>")
            except Exited as exited:
                return exited.status
        inside.interrupt = None
        if scope.cancelled_caught:
            problem, value = ("KeyboardInterrupt", ""), None
        if value is not None:
            await cell.say(t="show", n=cell.number, k="result", m={"text/plain": repr(value)})
        if problem is not None:
            name, text = problem
            await cell.say(t="error", n=cell.number, name=name, value=text, trace=f"{name}: {text}\n")
        await cell.say(t="end", n=cell.number, ok=problem is None)
    return 0
