"""From the wire models to what the pool is asked, the server's own defaults filled in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from vmpool import domain
from vmpool.api.schemas import ChangeLimits, CreateVM, ExecuteRequest, NetworkPolicy, ProcessLimits, Runnable
from vmpool.domain import DEFAULT_TIMEOUT, NO_LIMITS, ExecutionRequest, Limits
from vmpool.pool.requests import LimitsRequest, VMRequest

TERMINAL_LINGER = 600.0
"""Seconds a terminal waits for its user to come back."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request gets that does not say.

    ttl, idle_timeout, timeout: seconds.  background: the timeout of a background execution; infinity: none.
    """

    limits: Limits = field(default_factory=Limits)
    ttl: int | None = None
    idle_timeout: int | None = None
    timeout: float = DEFAULT_TIMEOUT
    background: float = math.inf
    network: str = domain.NetworkMode.FILTERED

    def vm(self, body: CreateVM) -> VMRequest:
        """The VM that is asked for."""
        own = self.limits
        return VMRequest(
            name=body.name,
            language=body.language,
            template=body.template,
            limits=Limits(
                cpu=own.cpu if body.cpu_limit is None else body.cpu_limit,
                memory=own.memory if body.memory_limit is None else body.memory_limit,
                disk=own.disk if body.disk_limit is None else body.disk_limit,
                processes=own.processes if body.process_limit is None else body.process_limit,
            ),
            env=body.env,
            network=self.network if body.network is None else body.network,
            network_policy=network_policy(body.network_policy),
            ttl=self.ttl if body.ttl is None else body.ttl,
            idle_timeout=self.idle_timeout if body.idle_timeout is None else body.idle_timeout,
            idle_pause=body.idle_pause,
            labels=body.labels,
            isolation=body.isolation,
            strict_limits=body.strict_limits,
            packages=tuple(body.packages),
        )

    def limits_of(self, body: ChangeLimits) -> LimitsRequest:
        """The limits that are asked for."""
        return LimitsRequest(body.cpu_limit, body.memory_limit, body.disk_limit, body.process_limit)

    def execution(self, body: Runnable) -> ExecutionRequest:
        """The execution that is asked for."""
        return ExecutionRequest(
            code=body.code,
            command=body.command,
            language=body.language,
            timeout=self.timeout if body.timeout is None else body.timeout,
            env=body.env,
            stdin=body.stdin,
            cwd=body.cwd,
            secrets=tuple(body.secrets),
            packages=tuple(body.packages),
            manager=body.manager,
            limits=NO_LIMITS if body.limits is None else process_limits(body.limits),
        )

    def special_execution(self, body: ExecuteRequest) -> ExecutionRequest:
        """The same of one that may go on without its caller, or be written to."""
        asked = self.execution(body)
        timeout = self.background if body.background and body.timeout is None else asked.timeout
        size = body.terminal
        linger = body.linger
        if linger is None and size is not None and body.background:
            linger = TERMINAL_LINGER
        return replace(
            asked,
            timeout=timeout,
            background=body.background,
            stdin_open=body.stdin_open or (size is not None and body.stdin is None),
            terminal=None if size is None else domain.TerminalSize(size.columns, size.rows),
            linger=linger,
        )


def process_limits(body: ProcessLimits) -> domain.ProcessLimits:
    """Limits that are asked for the processes of an execution."""
    return domain.ProcessLimits(body.cpu_seconds, body.memory, body.file_size, body.open_files)


def network_policy(body: NetworkPolicy) -> domain.NetworkPolicy:
    """What a VM is to be allowed to reach."""
    return domain.NetworkPolicy(
        allow=tuple(body.allow),
        deny=tuple(body.deny),
        group=body.group,
        max_connections=body.max_connections,
        connections_per_second=body.connections_per_second,
        max_bytes=body.max_bytes,
    )
