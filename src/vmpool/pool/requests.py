"""What callers ask of the pool, checked and made definite before anything is done.  Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vmpool.backends.base import BackendInfo, MachineSpec
from vmpool.domain import (
    DEFAULT_DISK_LIMIT,
    LANGUAGES,
    VM,
    ExecutionRequest,
    Language,
    Limits,
    NetworkMode,
    NetworkPolicy,
    NewVM,
    language_named,
)
from vmpool.domain.isolation import at_least
from vmpool.errors import InvalidRequest, IsolationUnavailable, LimitsNotHard, TemplateNotFound, Unsupported
from vmpool.network.policy import check as check_rules
from vmpool.pool.settings import PoolSettings

MIN_CPU = 0.05
MIN_MEMORY = 16
MIN_DISK = 8
MAX_PROCESSES = 32_768
MAX_ARGUMENT = (128 << 10) - 1
"""Bytes of one argument or variable of a process (MAX_ARG_STRLEN without its end)."""

ISOLATION_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "namespaces": "a server with backend bubblewrap has it",
        "container": "a server with backend docker has it",
        "gvisor": "it needs backend docker and an engine with the runtime 'runsc' ('vm doctor' says how)",
        "microvm": "it needs backend docker and an engine with a Kata runtime ('vm doctor' says how)",
    }
)
"""What has the isolation that this server has not, or thinks too weak."""

_NAME = re.compile(r"[a-z0-9-]{1,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class VMRequest:
    """A VM a caller asks for.

    language: None takes the template's.  template: a built-in one; None takes the language's.
    ttl: seconds to its deletion.  idle_timeout: seconds without an execution to its stop, idle_pause: to
    its pause.  isolation: None takes the server's own.  strict_limits: refuse where a limit
    is not hard; None takes the server's own.  packages: installed, by the language's own manager, before the
    VM is its caller's.
    """

    name: str
    language: str | None
    template: str | None = None
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict)
    network: str = "none"
    network_policy: NetworkPolicy = field(default_factory=NetworkPolicy)
    ttl: int | None = None
    idle_timeout: int | None = None
    idle_pause: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    isolation: str | None = None
    strict_limits: bool | None = None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LimitsRequest:
    """Limits a caller asks for a VM that is there; None leaves one as it is.  Units as in `Limits`."""

    cpu: float | None = None
    memory: int | None = None
    disk: int | None = None
    processes: int | None = None

    def over(self, have: Limits) -> Limits:
        """What the VM would have then."""
        return Limits(
            cpu=have.cpu if self.cpu is None else self.cpu,
            memory=have.memory if self.memory is None else self.memory,
            disk=have.disk if self.disk is None else self.disk,
            processes=have.processes if self.processes is None else self.processes,
        )


def check_name(name: str) -> None:
    """InvalidRequest unless `name` can be a VM's name, its hostname and never be taken for an id."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest("name", f"'{name[:80]}' must be 1 to 63 characters of a-z, 0-9 and '-'")
    if name.isdecimal():
        raise InvalidRequest("name", f"'{name}' must not be all digits: it would read as an id")
    if name.startswith("-") or name.endswith("-"):
        raise InvalidRequest("name", f"'{name}' must begin and end with a letter or a digit")


def check_env(field_name: str, env: Mapping[str, str]) -> None:
    """InvalidRequest for a variable no process could be given."""
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidRequest(f"{field_name}.{name[:80]}", "is not a name of a variable")
        if "\0" in value:
            raise InvalidRequest(f"{field_name}.{name}", "must not contain a NUL character")
        _bounded(f"{field_name}.{name}", value, MAX_ARGUMENT - len(name) - 1)


def _bounded(name: str, text: str, limit: int) -> None:
    """InvalidRequest unless the text is at most `limit` bytes of UTF-8."""
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(name, "must be text that UTF-8 can express") from None
    if size > limit:
        raise InvalidRequest(name, f"must be at most {limit} bytes, not {size}")


def check_policy(policy: NetworkPolicy) -> None:
    """InvalidRequest unless its lists are rules and its group could be a VM's name."""
    check_rules(policy)
    if policy.group is not None and not _NAME.fullmatch(policy.group):
        raise InvalidRequest("network_policy.group", "must be 1 to 63 characters of a-z, 0-9 and '-'")


def check_full_network(info: BackendInfo, isolation: str) -> None:
    """Unsupported unless VMs in this isolation may be on the backend's own network."""
    if "network:full" not in info.capabilities:
        remedy = "'full' needs backend docker, an engine with its bridge, and the operator's network.full"
        raise Unsupported("network", info.name, remedy)
    if isolation != "container":
        raise Unsupported("network", info.name, f"'full' needs isolation 'container', not '{isolation}'")


def check_limits(
    limits: Limits, settings: PoolSettings, host_cpus: int, host_memory: int, host_disk: int
) -> None:
    """InvalidRequest for a limit no VM on this host could have.  host_memory, host_disk: MB."""
    max_cpu = settings.max_cpu or float(host_cpus)
    max_memory = settings.max_memory or host_memory
    # never below what a VM gets that asks for none: a small disk under a large engine must not refuse those
    max_disk = settings.max_disk or max(host_disk, DEFAULT_DISK_LIMIT)
    _between("cpu_limit", limits.cpu, MIN_CPU, max_cpu, "cores")
    _between("memory_limit", limits.memory, MIN_MEMORY, max_memory, "MB")
    _between("disk_limit", limits.disk, MIN_DISK, max_disk, "MB")
    _between("process_limit", limits.processes, 4, MAX_PROCESSES, "processes")


def _between(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value < float("inf"):  # also refuses NaN
        raise InvalidRequest(name, f"{_number(value)} must be at least {low:g} {unit}")
    if value > high:
        raise InvalidRequest(name, f"{_number(value)} must be at most {_number(high)} {unit} here")


def _number(value: float) -> str:
    """As it was given: an integer has all its digits, where `:g` would round a large one."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def settle(
    user_id: int,
    asked: VMRequest,
    info: BackendInfo,
    settings: PoolSettings,
    host_cpus: int,
    host_memory: int,
    host_disk: int,
) -> NewVM:
    """The same VM with language and template by their canonical names, everything checked.

    Raises InvalidRequest naming the field, TemplateNotFound, Unsupported for a network this backend does not
    give, IsolationUnavailable.
    """
    check_name(asked.name)
    check_limits(asked.limits, settings, host_cpus, host_memory, host_disk)
    check_env("env", asked.env)
    for name, seconds in (
        ("ttl", asked.ttl),
        ("idle_timeout", asked.idle_timeout),
        ("idle_pause", asked.idle_pause),
    ):
        if seconds is not None and seconds < 1:
            raise InvalidRequest(name, f"{seconds} must be at least 1 second")
    if asked.idle_pause is not None and "pause" not in info.capabilities:
        raise Unsupported("idle_pause", info.name, "use idle_timeout, which stops the VM instead")
    if asked.network not in tuple(NetworkMode):
        raise InvalidRequest("network", f"'{asked.network}' is not one of {', '.join(NetworkMode)}")
    check_policy(asked.network_policy)
    if asked.network != NetworkMode.FILTERED and asked.network_policy != NetworkPolicy():
        raise InvalidRequest("network_policy", f"needs network 'filtered', not '{asked.network}'")
    language = language_of(asked)
    template = asked.template or language.name
    if template not in info.templates:
        raise TemplateNotFound(template, info.templates)
    isolation = chosen_isolation(asked.isolation, info, settings)
    if asked.network == NetworkMode.FULL:
        check_full_network(info, isolation)
    strict = settings.strict_limits if asked.strict_limits is None else asked.strict_limits
    if strict and (soft := info.soft_limits.get(isolation)):
        raise LimitsNotHard(info.name, soft)
    return NewVM(
        user_id=user_id,
        name=asked.name,
        language=language.name,
        template=template,
        backend=info.name,
        isolation=isolation,
        limits=asked.limits,
        network=asked.network,
        network_policy=asked.network_policy,
        ttl=asked.ttl,
        idle_timeout=asked.idle_timeout,
        idle_pause=asked.idle_pause,
        env=asked.env,
        labels=asked.labels,
    )


def language_of(asked: VMRequest) -> Language:
    """The language that is named, else that of the template; InvalidRequest where neither is."""
    name = asked.language or asked.template
    if name is None:
        raise InvalidRequest("language", f"is needed, or a template; there are {', '.join(LANGUAGES)}")
    return language_named(name)


def machine_spec(vm: VM, snapshot: str | None = None) -> MachineSpec:
    """What the backend is to make for this row: the same at creation, at repair and at a restore."""
    return MachineSpec(
        hostname=vm.name,
        template=vm.template,
        limits=vm.limits,
        env=vm.env,
        network="full"
        if vm.network == NetworkMode.FULL
        else "none",  # filtered: its agent's, not the machine's
        labels=vm.labels,
        snapshot=snapshot,
        isolation=vm.isolation,
    )


def offered_isolations(info: BackendInfo, settings: PoolSettings) -> tuple[str, ...]:
    """What a VM may ask for: what the host has, but nothing weaker than what it would get unasked."""
    return at_least(settings.isolation or info.isolation, info.isolations or (info.isolation,))


def chosen_isolation(asked: str | None, info: BackendInfo, settings: PoolSettings) -> str:
    """The wall a VM gets; IsolationUnavailable for one that is not there, or weaker than the server's own."""
    wanted = asked or settings.isolation or info.isolation
    offered = offered_isolations(info, settings)
    if wanted not in offered:
        raise IsolationUnavailable(wanted, info.name, offered, ISOLATION_REMEDIES.get(wanted, ""))
    return wanted


def check_execution(request: ExecutionRequest, settings: PoolSettings) -> None:
    """InvalidRequest unless exactly one of code and command is there and every field is in bounds."""
    if (request.code is not None) + (request.command is not None) + bool(request.packages) != 1:
        raise InvalidRequest("code", "send exactly one of code, command and packages")
    if request.manager is not None and not request.packages:
        raise InvalidRequest("manager", "is for packages only")
    if request.code is not None:
        _bounded("code", request.code, settings.max_code)
    elif request.command is not None:
        if "\0" in request.command:
            raise InvalidRequest("command", "must not contain a NUL character")
        # one argument of a process cannot be longer; a longer script goes as code in bash
        _bounded("command", request.command, min(settings.max_code, MAX_ARGUMENT))
    if request.stdin is not None:
        _bounded("stdin", request.stdin, settings.max_stdin)
        if request.stdin_open:
            raise InvalidRequest("stdin", "cannot be given at once where stdin_open leaves it to be written")
    if request.terminal is not None and not request.stdin_open:
        raise InvalidRequest("terminal", "cannot be given at once with stdin: what is typed comes later")
    if request.linger is not None and not (request.background and request.linger >= 0):
        raise InvalidRequest("linger", "must be seconds, and of what runs in the background")
    longest = settings.max_timeout
    if request.background:
        longest = math.inf if settings.max_background is None else settings.max_background
    if not 0 < request.timeout <= longest:
        raise InvalidRequest(
            "timeout", f"{request.timeout:g} must be above 0 and at most {longest:g} seconds"
        )
    if request.cwd is not None and ("\0" in request.cwd or not request.cwd):
        raise InvalidRequest("cwd", "must be a path in the VM")
    if request.env:
        check_env("env", request.env)
