"""A few words of the shell: `;`, `&&`, `||`, redirections, variables, and the commands tests want."""

from __future__ import annotations

import re
import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import anyio

from vmpool.backends.fake.kernel import run_kernel
from vmpool.backends.fake.process import Exited, Inside, Interrupt, Much
from vmpool.backends.fake.python import run_python

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+|\$|\?))")
_ERRORS = re.compile(r"(?<!\S)2(?=>)")
KERNEL = "/kernel_python.py"
"""What the program of a context is called."""
_MARK = "\x02"
"""Stands for the 2 of `2>` while words are cut, which would lose whether a space was between."""
_OPERATORS = frozenset({";", "&&", "||", "\n"})
_REDIRECTIONS = frozenset({">", ">>", "<", ">&"})


@dataclass(slots=True)
class _Shell:
    """One shell: its process, and the status of the last command."""

    inside: Inside
    variables: dict[str, str]
    status: int = 0

    def expand(self, word: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name == "$":
                return str(self.inside.pid)
            if name == "?":
                return str(self.status)
            return self.variables.get(name, "")

        return _VARIABLE.sub(value, word)


@dataclass(slots=True)
class _Command:
    """One simple command.  `output` and `errors`: a path, or the number of the stream to go to."""

    words: list[str] = field(default_factory=list)
    source: str | None = None
    output: str | int = 1
    errors: str | int = 2
    append: bool = False


async def run_shell(inside: Inside, script: str) -> int:
    """Run a script; its status is the last command's."""
    shell = _Shell(inside, dict(inside.env))
    try:
        operator = ";"
        for command, following in _parse(script):
            if not ((operator == "&&" and shell.status != 0) or (operator == "||" and shell.status == 0)):
                shell.status = await _simple(shell, command)
            operator = following
    except Exited as exited:
        return exited.status
    return shell.status


def _parse(script: str) -> list[tuple[list[str], str]]:
    """Words of each simple command with the operator after it.  Single-quoted words keep their `$`."""
    script = _ERRORS.sub(_MARK, script.replace("\n", " ; "))
    lexer = shlex.shlex(script, posix=False, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    commands: list[tuple[list[str], str]] = []
    words: list[str] = []
    for token in lexer:
        if token in _OPERATORS:
            if words:
                commands.append((words, token))
            words = []
        else:
            words.append(token)
    if words:
        commands.append((words, ";"))
    return commands


def _unquote(shell: _Shell, token: str) -> str:
    parts = re.findall(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"|[^'\"]+", token)
    text = ""
    for part in parts:  # a mark inside of quotes was no redirection
        if part.startswith("'"):
            text += part[1:-1].replace(_MARK, "2")
        elif part.startswith('"'):
            text += shell.expand(re.sub(r'\\(["\\$])', r"\1", part[1:-1]).replace(_MARK, "2"))
        else:
            text += shell.expand(part)
    return text


def _read_command(shell: _Shell, tokens: list[str]) -> _Command:
    command = _Command()
    rest = iter(tokens)
    for token in rest:
        if token in _REDIRECTIONS:
            stream = 1
            if command.words and command.words[-1] == _MARK and token.startswith(">"):
                command.words.pop()
                stream = 2
            target = _unquote(shell, next(rest, ""))
            if token == "<":
                command.source = target
            elif token == ">&":
                _redirect(command, stream, int(target), append=False)
            else:
                _redirect(command, stream, target, append=token == ">>")
        else:
            command.words.append(_unquote(shell, token))
    return command


def _redirect(command: _Command, stream: int, target: str | int, *, append: bool) -> None:
    command.append = append
    if stream == 2:
        command.errors = command.output if target == 1 else target
    else:
        command.output = command.errors if target == 2 else target


class _Redirected:
    """The process as one command of the shell sees it."""

    def __init__(self, shell: _Shell, command: _Command) -> None:
        inside = shell.inside
        self.argv = tuple(command.words)
        self.env: Mapping[str, str] = shell.variables
        self.cwd = inside.cwd
        self.files = inside.files
        self.hostname = inside.hostname
        self.pid = inside.pid
        self.interrupt: Interrupt | None = None
        self._inside = inside
        self._source: bytes | None = None
        if command.source is not None:
            self._source = inside.files.read(inside.files.resolve(command.source, inside.cwd)).data
        self._targets = {1: command.output, 2: command.errors}
        for target in self._targets.values():
            if isinstance(target, str) and target != "/dev/null":
                path = self.files.resolve(target, self.cwd)
                kept = self.files.files[path].data if command.append and path in self.files.files else b""
                self.files.write(path, kept)

    async def write(self, stream: int, data: bytes) -> None:
        target = self._targets[stream]
        if isinstance(target, int):
            await self._inside.write(target, data)
        elif target != "/dev/null":
            path = self.files.resolve(target, self.cwd)
            self.files.write(path, self.files.read(path).data + data)

    async def read(self, much: Much = "all") -> bytes:
        if self._source is None:
            return await self._inside.read(much)
        end = self._source.find(b"\n") + 1 if much == "line" else 0
        end = end or len(self._source)
        data, self._source = self._source[:end], self._source[end:]
        return data


async def _simple(shell: _Shell, tokens: list[str]) -> int:
    command = _read_command(shell, tokens)
    while command.words and re.fullmatch(r"\w+=.*", command.words[0], re.DOTALL):
        name, _, value = command.words.pop(0).partition("=")
        shell.variables[name] = value
    if not command.words:
        return 0
    name = command.words[0]
    try:
        inside = _Redirected(shell, command)
        if name == "exit":
            raise Exited(int(command.words[1]) & 0xFF if len(command.words) > 1 else shell.status)
        if name == "cd":
            shell.inside.cwd = inside.files.resolve(command.words[1], inside.cwd)
            return 0
        known = _COMMANDS.get(name.rpartition("/")[2])
        if known is None:
            await inside.write(2, f"sh: 1: {name}: not found\n".encode())
            return 127
        return await known(inside, command.words[1:])
    except OSError as error:
        await shell.inside.write(2, f"{name}: {error.filename}: {error.strerror}\n".encode())
        return 1


async def _echo(inside: Inside, words: list[str]) -> int:
    newline = b"\n"
    if words[:1] == ["-n"]:
        words, newline = words[1:], b""
    await inside.write(1, " ".join(words).encode("utf-8", "surrogateescape") + newline)
    return 0


async def _cat(inside: Inside, words: list[str]) -> int:
    if not words:
        while data := await inside.read("some"):
            await inside.write(1, data)
    for word in words:
        await inside.write(1, inside.files.read(inside.files.resolve(word, inside.cwd)).data)
    return 0


async def _sleep(inside: Inside, words: list[str]) -> int:
    await anyio.sleep(float(words[0]))
    return 0


async def _true(inside: Inside, words: list[str]) -> int:
    return 0


async def _false(inside: Inside, words: list[str]) -> int:
    return 1


async def _env(inside: Inside, words: list[str]) -> int:
    lines = "".join(f"{name}={value}\n" for name, value in inside.env.items())
    await inside.write(1, lines.encode("utf-8", "surrogateescape"))
    return 0


async def _pwd(inside: Inside, words: list[str]) -> int:
    await inside.write(1, inside.cwd.encode() + b"\n")
    return 0


async def _hostname(inside: Inside, words: list[str]) -> int:
    await inside.write(1, inside.hostname.encode() + b"\n")
    return 0


async def _id(inside: Inside, words: list[str]) -> int:
    await inside.write(1, b"1000\n" if words[:1] == ["-u"] else b"uid=1000(user) gid=1000(user)\n")
    return 0


async def _umask(inside: Inside, words: list[str]) -> int:
    await inside.write(1, b"0022\n")
    return 0


async def _ls(inside: Inside, words: list[str]) -> int:
    names = inside.files.names(inside.files.resolve(words[-1] if words else ".", inside.cwd))
    await inside.write(1, "".join(f"{name}\n" for name in names if not name.startswith(".")).encode())
    return 0


async def _rm(inside: Inside, words: list[str]) -> int:
    tree = "r" in words[0] if words and words[0].startswith("-") else False
    for word in words:
        if not word.startswith("-"):
            inside.files.remove(inside.files.resolve(word, inside.cwd), tree=tree)
    return 0


async def _mkdir(inside: Inside, words: list[str]) -> int:
    for word in words:
        if not word.startswith("-"):
            inside.files.make_directory(inside.files.resolve(word, inside.cwd), parents=words[0] == "-p")
    return 0


async def _touch(inside: Inside, words: list[str]) -> int:
    for word in words:
        path = inside.files.resolve(word, inside.cwd)
        if path not in inside.files.files:
            inside.files.write(path, b"")
    return 0


async def _python(inside: Inside, words: list[str]) -> int:
    if words[:1] == ["-c"]:
        return await run_python(inside, words[1], "<string>")
    path = inside.files.resolve(words[0], inside.cwd)
    if path.endswith(KERNEL):
        return await run_kernel(inside)
    return await run_python(inside, inside.files.read(path).data.decode(), path)


async def _sh(inside: Inside, words: list[str]) -> int:
    if words[:1] in (["-c"], ["-lc"]):
        if words[2:3] == ["build"]:  # of pool/build_cache.py: nothing is kept here, so it is its command
            inside.argv = tuple(words[5:])
            return await run_program(inside)
        return await run_shell(inside, words[1])
    if words:
        path = inside.files.resolve(words[0], inside.cwd)
        return await run_shell(inside, inside.files.read(path).data.decode())
    return await run_shell(inside, (await inside.read()).decode())


_COMMANDS: dict[str, Callable[[Inside, list[str]], Awaitable[int]]] = {
    "echo": _echo,
    "cat": _cat,
    "sleep": _sleep,
    "true": _true,
    ":": _true,
    "sync": _true,
    "false": _false,
    "env": _env,
    "pwd": _pwd,
    "hostname": _hostname,
    "id": _id,
    "umask": _umask,
    "ls": _ls,
    "rm": _rm,
    "mkdir": _mkdir,
    "touch": _touch,
    "python3": _python,
    "python": _python,
    "sh": _sh,
    "bash": _sh,
}


async def run_program(inside: Inside) -> int:
    """Run `argv` as the kernel would: 127 for a program the machine does not have."""
    name = inside.argv[0].rpartition("/")[2]
    known = _COMMANDS.get(name)
    if known is None:
        await inside.write(2, f"{inside.argv[0]}: not found\n".encode())
        return 127
    try:
        return await known(inside, list(inside.argv[1:]))
    except OSError as error:
        await inside.write(2, f"{name}: {error.filename}: {error.strerror}\n".encode())
        return 2
