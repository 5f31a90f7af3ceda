"""Packages for VMs: what an install is as an execution, and the way to the server's registry."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import anyio.abc

from vmpool.domain import VM, Execution, ExecutionRequest, NetworkMode, language_named
from vmpool.domain.packages import (
    PACKAGE_MANAGERS,
    PACKAGES_HOST,
    PackageManager,
    check_packages,
    package_manager_named,
)
from vmpool.errors import Conflict, InvalidRequest, Unsupported
from vmpool.network.destinations import Destination
from vmpool.network.policy import Policy, Refused
from vmpool.packages.cache import Cache
from vmpool.packages.depot import Depot
from vmpool.packages.registry import Registry
from vmpool.packages.upstreams import Upstreams
from vmpool.pool.runner import PROXY_ENV
from vmpool.pool.settings import PackageSettings

PORT = 80
NEED_ROOT = ("apt", "apt-get", "dnf", "apk")
"""What writes into a system; no backend gives root inside."""
SHOWN = 2000
"""Characters of an install's output that a refused create shows."""


class Packages:
    """One server's.  `open_registry` is told of a VM whose agent has to be had to listen for an install."""

    def __init__(self, settings: PackageSettings, directory: Path, tasks: anyio.abc.TaskGroup) -> None:
        self._settings = settings
        self._depot = Depot(Cache(directory, settings.cache_bytes), tasks, settings.bounds)
        self.registry = Registry(self._depot, Upstreams(settings.upstreams)) if settings.upstreams else None
        self.open_registry: Callable[[VM], Awaitable[None]] | None = None

    async def aclose(self) -> None:
        """Close the connections to upstream."""
        await self._depot.aclose()

    def install(self, vm: VM, request: ExecutionRequest) -> ExecutionRequest:
        """The same request as the process that installs.

        InvalidRequest where a package is none, Conflict where this VM does not reach the registry.
        """
        if request.manager in NEED_ROOT:
            remedy = "nobody is root in a VM; put them into a template's image, or install another package"
            raise Unsupported("manager", vm.backend, remedy)
        manager = self.manager(vm.language, request.manager)
        check_packages(manager, request.packages)
        self._check_reach(vm)
        argv = _vector(manager, vm.language, request.packages)
        env = {**PROXY_ENV, **manager.env, **request.env}
        return replace(request, command=shlex.join(argv), argv=argv, env=env)

    def manager(self, language: str, named: str | None) -> PackageManager:
        """The one that is named, else the language's own."""
        if self.registry is None:
            raise InvalidRequest("packages", "are not offered by this server (packages.enabled)")
        name = named or language_named(language).package_manager
        if name is None:
            raise InvalidRequest(
                "manager", f"name one of {', '.join(PACKAGE_MANAGERS)}: there is none for {language}"
            )
        return package_manager_named(name)

    async def reachable(self, vm: VM) -> None:
        """Have the VM's agent listen for its package manager, where it does not do so anyway."""
        if vm.network != NetworkMode.FILTERED and self.open_registry is not None:
            await self.open_registry(vm)

    def _check_reach(self, vm: VM) -> None:
        if vm.network == NetworkMode.NONE and not self._settings.without_network:
            raise Conflict(
                f"VM {vm.id} has network 'none', and this server gives such VMs no packages "
                "(packages.without_network); make it with network 'filtered'"
            )
        if vm.network == NetworkMode.FILTERED:
            policy = Policy(vm.network_policy, (), lambda address: False)
            judged = policy.peer(Destination(PACKAGES_HOST, PORT))
            if isinstance(judged, Refused):
                raise Conflict(f"{judged.why} {judged.remedy}")


def _vector(manager: PackageManager, language: str, packages: tuple[str, ...]) -> tuple[str, ...]:
    entry = language_named(language)
    python = entry.run[0] if entry.package_manager == "pip" else "python3"
    install = tuple(part.replace("{python}", python) for part in manager.install)
    return (*install, *packages)


def not_installed(execution: Execution) -> InvalidRequest:
    """Why there is no VM with these packages."""
    outcome = execution.outcome
    if outcome is None:
        return InvalidRequest("packages", f"could not be installed: {execution.failure}")
    said = (outcome.error.strip() or outcome.output.strip())[-SHOWN:]
    how = "took too long" if outcome.timed_out else f"ended with {outcome.exit_code}"
    return InvalidRequest("packages", f"could not be installed: it {how}: {said}")
