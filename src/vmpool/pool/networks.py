"""The networks of the pool's VMs: a broker for each, over its agent's connections, and what it writes down.

A VM's broker lives as long as the VM and this server; who feeds it is one task for each machine of the VM,
which ends with the connection to that machine's agent.  Policies are rows, so a new server's brokers judge
as those of the one before did.
"""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import anyio

from vmpool.agent.base import GuestConnection, NetworkListen
from vmpool.backends.base import MachineKey
from vmpool.domain import VM, NetworkEntry, NetworkMode, NetworkPolicy, NetworkVerdict, VMState
from vmpool.domain.packages import PACKAGES_HOST
from vmpool.errors import (
    AgentRefused,
    AgentTooOld,
    Conflict,
    InfrastructureFailure,
    StoreFailed,
    VMNotFound,
)
from vmpool.network.broker import Broker, Surroundings
from vmpool.network.journal import Totals
from vmpool.network.limits import NetworkLimits
from vmpool.network.reach import Connect
from vmpool.network.relay import Stream
from vmpool.network.resolver import Lookup, Resolver, system_lookup
from vmpool.packages.registry import Registry
from vmpool.pool.context import Context, key_of
from vmpool.pool.requests import check_policy
from vmpool.pool.runner import PROXY_PORT
from vmpool.telemetry import log_context
from vmpool.telemetry.instruments import Family, Sample, gauge

logger = logging.getLogger(__name__)

WRITE_EVERY = 1.0
"""Seconds between two writings of what brokers have noted."""
AGAIN = 5.0
"""Seconds until an agent that could not be told to listen is told again."""
SUFFIX = ".vm"
ONLY_PACKAGES = NetworkPolicy(allow=(PACKAGES_HOST,))
"""What a VM reaches that has no network of the server's, and has been asked to install something."""
ONLY_PROXY = NetworkListen(proxy=PROXY_PORT)


@dataclass(frozen=True, slots=True)
class Network:
    """One VM's, at one moment.  limits: that hold now.  totals: since this server began to serve it.

    bytes_used: over the VM's life.
    """

    vm: VM
    limits: NetworkLimits
    totals: Totals
    bytes_used: int


class Networks:
    """Opens the network of every running VM in mode `filtered`.

    lookup: how names are resolved.  registry: the server's own, where VMs get packages.
    """

    def __init__(
        self, context: Context, lookup: Lookup = system_lookup, registry: Registry | None = None
    ) -> None:
        self._context = context
        self._registry = registry
        settings = context.settings.network
        self._around = Surroundings(
            resolver=Resolver(context.tasks, lookup, timeout=settings.limits.connect_timeout),
            limits=settings.limits,
            admit=settings.admit,
            clock=context.clock,
        )
        self._listen = NetworkListen(proxy=PROXY_PORT, direct=settings.direct_ports, resolver=True)
        self._brokers: dict[int, Broker] = {}
        self._open: set[MachineKey] = set()
        self._written: dict[int, int] = {}
        self._past = Totals()

    # -- connections

    def soon(self, vm: VM) -> None:
        """The VM runs: have its agent listen, and serve what comes, until the agent is let go of."""
        key = key_of(vm)
        if vm.network == NetworkMode.FILTERED and key not in self._open:
            self._begin(key, vm, self._listen)

    def _begin(self, key: MachineKey, vm: VM, listen: NetworkListen) -> None:
        self._open.add(key)
        name = f"network of {key}"
        self._context.tasks.start_soon(self._serve, key, self._broker(vm), listen, name=name)

    async def open_registry(self, vm: VM) -> None:
        """Let a VM of another mode reach the server's registry and nothing else, until its machine ends.

        Raises AgentTooOld, Conflict where a program in the VM has taken the port.
        """
        key = key_of(vm)
        if key in self._open:
            return
        had = await self._context.connections.get(key).open_network(ONLY_PROXY)
        if had != ONLY_PROXY:
            raise Conflict(f"a program in VM {vm.id} listens at port {PROXY_PORT}; end it, and install again")
        if key not in self._open:
            self._begin(key, vm, ONLY_PROXY)

    def _broker(self, vm: VM) -> Broker:
        broker = self._brokers.get(vm.id)
        if broker is None:
            group = _Group(self._context, vm.id, self._registry)
            filtered = vm.network == NetworkMode.FILTERED
            broker = Broker(
                self._around,
                vm.network_policy if filtered else ONLY_PACKAGES,
                group,
                bytes_spent=vm.network_bytes,
                secrets=partial(self._context.secrets.sent, vm.user_id, vm.id),
            )
            self._brokers[vm.id] = broker
            self._written[vm.id] = vm.network_bytes
        return broker

    async def _serve(self, key: MachineKey, broker: Broker, listen: NetworkListen) -> None:
        log_context.outside()
        log_context.for_vm(key.vm_id)
        try:
            if await self._listening(key, listen):
                async with anyio.create_task_group() as tasks:
                    async for connection in self._context.connections.get(key).guest_connections():
                        tasks.start_soon(self._one, broker, connection)
        except (AgentRefused, AgentTooOld) as problem:
            logger.warning("VM %s has no network: %s", key.vm_id, problem)
        finally:
            self._open.discard(key)

    async def _one(self, broker: Broker, connection: GuestConnection) -> None:
        direct = (connection.host, connection.port) if connection.listener == "direct" else None
        try:
            await broker.serve(connection, direct)
        except Exception:  # a defect of ours ends one connection, not the VM's network
            logger.exception("a connection of the VM was lost")
            connection.reset()

    async def _listening(self, key: MachineKey, listen: NetworkListen) -> bool:
        """Have the agent listen; false once the machine does not run any more.

        Raises AgentRefused or AgentTooOld where it never will.
        """
        for pause in itertools.chain((0.0,), itertools.repeat(AGAIN)):
            await anyio.sleep(pause)
            if not self._stands(key):
                break
            try:
                had = await self._context.connections.get(key).open_network(listen)
            except (AgentRefused, AgentTooOld):
                raise
            except InfrastructureFailure as problem:
                logger.info("the network of %s cannot be opened yet: %s", key, problem)
            else:
                if had != listen:
                    logger.warning(
                        "VM %s: a port is taken; programs that know no proxy reach nothing", key.vm_id
                    )
                return True
        return False

    def _stands(self, key: MachineKey) -> bool:
        vm = self._context.registry.get(key.vm_id)
        return vm is not None and key_of(vm) == key and vm.state is VMState.RUNNING

    # -- policies

    async def change(self, vm: VM, policy: NetworkPolicy) -> VM:
        """From now on this is the VM's policy; connections that it does not allow are cut.

        Conflict where the VM's mode has none, InvalidRequest.
        """
        if vm.network != NetworkMode.FILTERED:
            raise Conflict(f"VM {vm.id} has network '{vm.network}'; only 'filtered' has a policy")
        check_policy(policy)
        changed = await self._context.registry.record_policy(vm, policy)
        broker = self._brokers.get(vm.id)
        if broker is not None:
            broker.change(changed.network_policy)
        for other in self._context.registry.of_user(vm.user_id):
            if other.id in self._brokers:
                self._brokers[other.id].review()
        return changed

    def of(self, vm: VM) -> Network:
        """What the VM may do and has done."""
        broker = self._brokers.get(vm.id)
        limits = self._around.limits.within(vm.network_policy)
        if broker is None:
            return Network(vm, limits, Totals(), vm.network_bytes)
        return Network(vm, limits, broker.journal.totals, broker.bytes_spent)

    # -- what is written down

    async def run(self) -> NoReturn:
        """Write what brokers have noted, for ever."""
        while True:
            await anyio.sleep(WRITE_EVERY)
            try:
                await self.flush()
            except StoreFailed:
                logger.exception("the network log could not be written")

    async def flush(self) -> None:
        """Write everything noted so far.  What cannot be written stays noted, as far as there is room."""
        entries: dict[int, list[NetworkEntry]] = {}
        used: dict[int, int] = {}
        for vm_id, broker in self._brokers.items():
            if noted := broker.journal.take():
                entries[vm_id] = noted
            if broker.bytes_spent != self._written[vm_id]:
                used[vm_id] = broker.bytes_spent
        if entries or used:
            try:
                with anyio.CancelScope(shield=True):
                    keep = self._context.settings.network.log_entries
                    await self._context.store.network.write(entries, used, keep)
            except StoreFailed:
                for vm_id, noted in entries.items():
                    self._brokers[vm_id].journal.give_back(noted)
                raise
            self._written |= used
        self._forget_deleted()

    def _forget_deleted(self) -> None:
        for vm_id in [vm_id for vm_id in self._brokers if self._context.registry.get(vm_id) is None]:
            broker = self._brokers[vm_id]
            if not broker.journal.totals.open and not broker.journal.waiting:
                del self._brokers[vm_id], self._written[vm_id]
                self._past.add(broker.journal.totals)

    def families(self) -> Iterator[Family]:
        """For metrics, of all VMs together."""
        totals = Totals()
        totals.add(self._past)
        for broker in self._brokers.values():
            totals.add(broker.journal.totals)
        yield gauge("vmpool_network_connections_open", "Connections of VMs that are open.", totals.open)
        verdicts = ((verdict.value, getattr(totals, verdict.value)) for verdict in NetworkVerdict)
        yield Family(
            "vmpool_network_connections_total",
            "Connections VMs asked for, by what became of them.",
            "counter",
            tuple(Sample("", {"verdict": name}, count) for name, count in verdicts),
        )
        directions = (("up", totals.bytes_up), ("down", totals.bytes_down))
        yield Family(
            "vmpool_network_bytes_total",
            "Bytes carried from VMs (up) and to them (down).",
            "counter",
            tuple(Sample("", {"direction": name}, count) for name, count in directions),
        )


class _Group:
    """Implements `vmpool.network.reach.Peers` for one VM: the others of its group, and the registry."""

    def __init__(self, context: Context, vm_id: int, packages: Registry | None) -> None:
        self._context = context
        self._vm_id = vm_id
        self._packages = packages

    def find(self, host: str) -> Connect | None:
        """The running VM of this VM's user and group that `name` or `name.vm` means."""
        if host == PACKAGES_HOST:
            return self._of_packages
        registry = self._context.registry
        vm, name = registry.get(self._vm_id), host.removesuffix(SUFFIX)
        if vm is None or vm.network_policy.group is None or "." in name or name.isdecimal():
            return None
        try:
            other = registry.find(vm.user_id, name)
        except VMNotFound:
            return None
        if other.state is not VMState.RUNNING or other.network_policy.group != vm.network_policy.group:
            return None
        key = key_of(other)

        async def connect(port: int) -> Stream:
            try:
                return await self._context.connections.get(key).connect(port)
            except AgentRefused as refusal:
                raise OSError(refusal.errno or errno.ECONNREFUSED, refusal.message) from refusal
            except InfrastructureFailure as failure:
                raise OSError(errno.EHOSTUNREACH, failure.message) from failure

        return connect

    async def _of_packages(self, port: int) -> Stream:
        if self._packages is None or port != 80:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nothing listens there")
        return self._packages.connect()

    def owns(self, host: str) -> bool:
        """Names below `vm.` are VMs' and nobody else's."""
        return host.endswith(SUFFIX)
