"""Built-ins and module functions the fake machine's Python knows, each a coroutine over the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio

from vmpool.backends.fake.process import Exited, Inside

METHODS = frozenset(
    "append count decode encode endswith get index items join keys lower lstrip pop replace rstrip sort "
    "split splitlines startswith strip title upper values zfill hex".split()
)
"""Methods of the plain types a program may call."""

_PIECE = 32 << 10


class Raised(Exception):
    """An exception of the interpreted program."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Module:
    """A module, or a function of one, by its dotted name."""

    name: str


@dataclass(slots=True)
class Stdin:
    """`sys.stdin`, or its buffer."""

    inside: Inside
    binary: bool = False

    async def call(self, method: str, arguments: list[Any]) -> str | bytes:
        data = await self.inside.read("line" if method == "readline" else "all")
        return data if self.binary else data.decode("utf-8", "surrogateescape")


@dataclass(slots=True)
class Handle:
    """An open file; what is written is there at once."""

    inside: Inside
    path: str
    mode: str

    async def call(self, method: str, arguments: list[Any]) -> str | bytes | int | None:
        files = self.inside.files
        if method == "write":
            data = arguments[0] if isinstance(arguments[0], bytes) else arguments[0].encode()
            files.write(self.path, files.read(self.path).data + data)
            return len(arguments[0])
        if method == "read":
            data = files.read(self.path).data
            return data if "b" in self.mode else data.decode()
        if method in ("close", "flush"):
            return None
        raise Raised("AttributeError", f"file has no attribute '{method}'")


async def _write(inside: Inside, stream: int, data: bytes) -> None:
    for position in range(0, len(data), _PIECE):
        await inside.write(stream, data[position : position + _PIECE])


async def _print(
    inside: Inside,
    *values: object,
    sep: str = " ",
    end: str = "\n",
    file: Module | None = None,
    flush: bool = False,
) -> None:
    text = sep.join(str(value) for value in values) + end
    await _write(inside, 2 if file == Module("sys.stderr") else 1, text.encode("utf-8", "surrogateescape"))


async def _input(inside: Inside, prompt: str = "") -> str:
    await _write(inside, 1, prompt.encode())
    line = await inside.read("line")
    if not line:
        raise Raised("EOFError", "EOF when reading a line")
    return line.decode("utf-8", "surrogateescape").rstrip("\n")


async def _open(inside: Inside, path: str, mode: str = "r", encoding: str | None = None) -> Handle:
    full = inside.files.resolve(path, inside.cwd)
    if "w" in mode or ("a" in mode and full not in inside.files.files):
        inside.files.write(full, b"")
    elif "x" in mode and full in inside.files.files:
        raise Raised("FileExistsError", f"[Errno 17] File exists: '{path}'")
    else:
        inside.files.read(full)
    return Handle(inside, full, mode)


async def _exit(inside: Inside, status: object = 0) -> None:
    if isinstance(status, str):
        await _write(inside, 2, status.encode() + b"\n")
        raise Exited(1)
    raise Exited(int(status) & 0xFF if isinstance(status, int) else 0)


async def _sleep(inside: Inside, seconds: float) -> None:
    await anyio.sleep(seconds)


async def _stdout_write(inside: Inside, text: str) -> int:
    await _write(inside, 1, text.encode("utf-8", "surrogateescape"))
    return len(text)


async def _stderr_write(inside: Inside, text: str) -> int:
    await _write(inside, 2, text.encode("utf-8", "surrogateescape"))
    return len(text)


async def _stdout_write_bytes(inside: Inside, data: bytes) -> int:
    await _write(inside, 1, data)
    return len(data)


async def _stderr_write_bytes(inside: Inside, data: bytes) -> int:
    await _write(inside, 2, data)
    return len(data)


async def _flush(inside: Inside) -> None:
    return None


async def _time(inside: Inside) -> float:
    return anyio.current_time()


async def _getpid(inside: Inside) -> int:
    return inside.pid


async def _getcwd(inside: Inside) -> str:
    return inside.cwd


async def _getuid(inside: Inside) -> int:
    return 1000


async def _gethostname(inside: Inside) -> str:
    return inside.hostname


async def _exists(inside: Inside, path: str) -> bool:
    full = inside.files.resolve(path, inside.cwd)
    return full in inside.files.files or full in inside.files.directories


async def _listdir(inside: Inside, path: str = ".") -> list[str]:
    return inside.files.names(inside.files.resolve(path, inside.cwd))


async def _remove(inside: Inside, path: str) -> None:
    inside.files.remove(inside.files.resolve(path, inside.cwd))


async def _mkdir(inside: Inside, path: str) -> None:
    inside.files.make_directory(inside.files.resolve(path, inside.cwd))


def _plain(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def call(inside: Inside, *arguments: object) -> Any:
        return function(*arguments)

    return call


BUILTINS: dict[str, Callable[..., Awaitable[Any]]] = {
    "print": _print,
    "input": _input,
    "open": _open,
    "exit": _exit,
    "quit": _exit,
    **{
        function.__name__: _plain(function)
        for function in (
            abs, all, any, bool, bytes, chr, dict, enumerate, float, hex, int, len, list, max, min, ord,
            range, repr, reversed, round, set, sorted, str, sum, tuple, zip,
        )
    },
}  # fmt: skip
"""Built-in functions by name."""

LIBRARY: dict[str, Callable[..., Awaitable[Any]]] = {
    "time.sleep": _sleep,
    "time.time": _time,
    "time.monotonic": _time,
    "sys.exit": _exit,
    "sys.stdout.write": _stdout_write,
    "sys.stdout.flush": _flush,
    "sys.stdout.buffer.write": _stdout_write_bytes,
    "sys.stdout.buffer.flush": _flush,
    "sys.stderr.write": _stderr_write,
    "sys.stderr.flush": _flush,
    "sys.stderr.buffer.write": _stderr_write_bytes,
    "os.getpid": _getpid,
    "os.getcwd": _getcwd,
    "os.getuid": _getuid,
    "os.remove": _remove,
    "os.mkdir": _mkdir,
    "os.listdir": _listdir,
    "os.path.exists": _exists,
    "socket.gethostname": _gethostname,
}
"""Module functions by dotted name."""
