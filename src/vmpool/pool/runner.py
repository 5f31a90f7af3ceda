"""How an execution becomes a process: language, request and VM → the agent's ProcessSpec.  Pure."""

from __future__ import annotations

import math
import re
import resource
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from vmpool.agent.base import ProcessSpec
from vmpool.domain import VM, ExecutionRequest, Language, language_named
from vmpool.domain.language import VM_PATH, Warm
from vmpool.domain.limits import (
    CORE_BYTES,
    NO_LIMITS,
    OPEN_FILES_HARD,
    OPEN_FILES_SOFT,
    ProcessLimits,
)
from vmpool.pool.build_cache import cached_build

HOME = "/home/user"

BASE_ENV: Mapping[str, str] = MappingProxyType(
    {
        "HOME": HOME,
        "USER": "user",
        "LOGNAME": "user",
        "PATH": VM_PATH,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }
)
"""What every execution starts with; the VM's variables and then the request's come on top."""

PROXY_PORT = 3128
"""Where a VM's agent listens on its loopback for clients that know a proxy."""
_PROXY = f"http://127.0.0.1:{PROXY_PORT}"
_NO_PROXY = "localhost,127.0.0.1,::1"

PROXY_ENV: Mapping[str, str] = MappingProxyType(
    {
        written: value
        for name, value in (
            ("http_proxy", _PROXY),
            ("https_proxy", _PROXY),
            # Not SOCKS, though it is spoken there: some clients (httpx) fail without a module for it.
            ("all_proxy", _PROXY),
            ("no_proxy", _NO_PROXY),
        )
        for written in (name, name.upper())
    }
)
"""What an execution of a VM whose network is filtered has besides.

Programs that know no such variable (the JVM's, Node's fetch) need none: where they go leads to the agent.
"""

TERMINAL_ENV: Mapping[str, str] = MappingProxyType({"TERM": "xterm-256color"})
"""The kind every terminal of today can be taken for."""
NO_TERMINAL: Mapping[str, str] = MappingProxyType({})

MEGABYTE = 1 << 20

RLIMITS: Mapping[int, tuple[int, int]] = MappingProxyType(
    {
        resource.RLIMIT_CORE: (CORE_BYTES, CORE_BYTES),
        resource.RLIMIT_NOFILE: (OPEN_FILES_SOFT, OPEN_FILES_HARD),
    }
)


def rlimits(limits: ProcessLimits) -> Mapping[int, tuple[int, int]]:
    """What setrlimit(2) is to be told of each process: resource number to (soft, hard)."""
    if limits is NO_LIMITS:
        return RLIMITS
    asked = {
        resource.RLIMIT_CPU: (limits.cpu_seconds, 1, 1),
        resource.RLIMIT_DATA: (limits.memory, MEGABYTE, 0),
        resource.RLIMIT_FSIZE: (limits.file_size, MEGABYTE, 0),
        resource.RLIMIT_NOFILE: (limits.open_files, 1, 0),
    }
    own = {
        number: (most * unit, most * unit + grace)
        for number, (most, unit, grace) in asked.items()
        if most is not None
    }
    return {**RLIMITS, **own}


SHELL = "/bin/sh"
_PLACEHOLDER = re.compile(r"\{(?:source|scratch|memory)\}")
COMMAND_LANGUAGE = "bash"
"""What the history says of a `command`: it is a line for a shell."""


def working_directory(cwd: str | None) -> str:
    """An absolute path in the VM; a relative one starts at the home directory."""
    if cwd is None:
        return HOME
    return cwd if cwd.startswith("/") else f"{HOME}/{cwd}"


def standing_environment(vm: VM, language: Language | None) -> Mapping[str, str]:
    """What every execution in this VM starts with, before the request's own variables."""
    network = PROXY_ENV if vm.network == "filtered" else {}
    return {**BASE_ENV, **network, **(language.env if language else {}), **vm.env}


def can_be_warm(language: Language, request: ExecutionRequest) -> bool:
    """Whether a warm interpreter does the same as a fresh one: some variables are read only at its start."""
    return (language.warm is not Warm.NONE and request.terminal is None) and not any(
        name.startswith(language.reads_at_start) for name in request.env
    )


def language_of(vm: VM, request: ExecutionRequest) -> str:
    """The canonical language the history records; InvalidRequest for an unknown one."""
    if request.command is not None:
        return COMMAND_LANGUAGE
    return language_named(request.language).name if request.language else vm.language


def process_spec(vm: VM, request: ExecutionRequest, execution_id: int) -> ProcessSpec:
    """What the agent is to run.

    A `command` is a line for `/bin/sh -c`, unless the pool has put an argument vector in its place.  Source
    of an interpreted language lies beside the files of the working directory under a hidden name, so that its
    imports resolve there; source of a compiled one in a private directory together with what is built.  Both
    are gone when the execution has ended.
    """
    cwd = working_directory(request.cwd)
    stdin: bytes | Literal["open"] | None = "open" if request.stdin_open else None
    if request.stdin is not None:
        stdin = request.stdin.encode("utf-8", "replace")
    timeout = None if request.timeout == math.inf else request.timeout
    if request.command is not None:
        env = {**standing_environment(vm, None), **_of_terminal(vm, request), **request.env}
        return ProcessSpec(
            argv=request.argv or (SHELL, "-c", request.command),
            env=env,
            cwd=cwd,
            stdin=stdin,
            timeout=timeout,
            background=request.background,
            rlimits=rlimits(request.limits),
            terminal=request.terminal,
        )
    language = language_named(request.language or vm.language)
    scratch = f"/tmp/.vmpool-{execution_id}" if language.build or not language.beside else None
    source = _source_path(language, cwd, scratch, execution_id)

    meant = {"{source}": source, "{scratch}": scratch or cwd, "{memory}": str(vm.limits.memory)}
    env = {**standing_environment(vm, language), **_of_terminal(vm, request), **request.env}
    build = filled(language.build, meant)
    return ProcessSpec(
        argv=filled(language.run, meant),
        env=env,
        cwd=cwd,
        build=cached_build(language, request.code or "", build, scratch, env) if scratch else build,
        source=(source, (request.code or "").encode("utf-8", "replace")),
        scratch=scratch,
        stdin=stdin,
        timeout=timeout,
        background=request.background,
        warm=language.name if can_be_warm(language, request) else None,
        rlimits=rlimits(request.limits),
        terminal=request.terminal,
    )


def _of_terminal(vm: VM, request: ExecutionRequest) -> Mapping[str, str]:
    """What a program with a terminal has besides, unless the VM says otherwise."""
    return NO_TERMINAL if request.terminal is None or "TERM" in vm.env else TERMINAL_ENV


def filled(argv: tuple[str, ...], meant: Mapping[str, str]) -> tuple[str, ...]:
    """The argument vector with its placeholders replaced, all in one pass: a path may look like one."""
    return tuple(_PLACEHOLDER.sub(lambda found: meant[found[0]], part) for part in argv)


def _source_path(language: Language, cwd: str, scratch: str | None, execution_id: int) -> str:
    if scratch is not None and not language.beside:
        return f"{scratch}/{language.source}"
    extension = language.source.rpartition(".")[2]
    return f"{cwd.rstrip('/')}/.vmpool-{execution_id}.{extension}"
