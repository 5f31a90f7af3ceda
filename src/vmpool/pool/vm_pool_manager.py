"""The pool's verbs, each for one user: what the API calls and everything above stands on."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Self

import anyio
from anyio.abc import TaskGroup

from vmpool.agent.base import NetworkStream
from vmpool.backends.base import Backend, BackendInfo
from vmpool.domain import (
    VM,
    Execution,
    ExecutionRequest,
    ExecutionState,
    NetworkEntry,
    NetworkPolicy,
    Snapshot,
    VMState,
)
from vmpool.domain.event import Event, Wanted
from vmpool.domain.packages import check_packages
from vmpool.domain.secret import Secret
from vmpool.domain.template import Template
from vmpool.errors import BackendUnreachable, OutputNotKept, ShareInvalid, VMNotFound, VMPoolError
from vmpool.network.dialling import is_own
from vmpool.network.posting import Poster
from vmpool.network.resolver import Lookup, Resolver, system_lookup
from vmpool.pool.batch import Arrivals, Item, as_they_end, in_order
from vmpool.pool.building.builds import Builds
from vmpool.pool.building.work import Tools
from vmpool.pool.connections import Connections
from vmpool.pool.context import Context
from vmpool.pool.contexts.contexts import Contexts
from vmpool.pool.controls import Controls
from vmpool.pool.events import Journal
from vmpool.pool.executions import Executions
from vmpool.pool.expiry import Expiry
from vmpool.pool.feed import LogEntry
from vmpool.pool.figures import pool_families
from vmpool.pool.files import Files, VMFiles
from vmpool.pool.forks import Forks
from vmpool.pool.host import Host
from vmpool.pool.lifecycle import NOTHING, Lifecycle
from vmpool.pool.logs import DEFAULT_TAIL, Logs
from vmpool.pool.networks import Network, Networks
from vmpool.pool.outputs import Outputs, StoredOutput
from vmpool.pool.packages import Packages, not_installed
from vmpool.pool.pausing import Pausing
from vmpool.pool.ports import Ports
from vmpool.pool.reconciler import Reconciler
from vmpool.pool.registry import Registry
from vmpool.pool.requests import LimitsRequest, VMRequest, language_of
from vmpool.pool.resizing import Resizing
from vmpool.pool.secrets import Secrets
from vmpool.pool.settings import PoolSettings
from vmpool.pool.shares import Link, Shares
from vmpool.pool.snapshot_files import Export, SnapshotFiles
from vmpool.pool.snapshots import Snapshots
from vmpool.pool.spool import Spool, Stream
from vmpool.pool.status import PoolStatus, Status, UserUse, VMStatus
from vmpool.pool.streams import Streams
from vmpool.pool.templates import Templates
from vmpool.pool.warm import Warmer
from vmpool.pool.warm_pool.keeper import WarmPool
from vmpool.pool.webhooks import Webhooks, key_in
from vmpool.store import Store, utcnow
from vmpool.telemetry import Telemetry
from vmpool.telemetry.instruments import Family
from vmpool.telemetry.process import watch_loop

logger = logging.getLogger(__name__)

FIRST_ROUND = 15.0
"""Seconds opening the pool waits at most for the reconciler to have looked at everything once."""

Reference = int | str
"""A VM's id or its name."""


class VMPoolManager:
    """One running pool: `async with VMPoolManager(store, backend, settings, state_dir=path) as pool`.

    store: an open store.  backend: an entered backend.  state_dir: where output of executions that write
    much is kept while they run.  clock: the time now as naive UTC.  telemetry: where it counts what it does.
    lookup: resolves names that VMs ask to reach.

    Opening makes rows and machines agree first; leaving ends every loop and leaves every VM and every
    program running for the next server.  Only one may be open on a store at a time.

    Every verb takes the asking user's id first and raises VMNotFound for a VM that is somebody else's.
    `controls` has those on executions that run, `streams` reads what they write, `contexts` has those on
    kernels that remember, `templates` those on users' own and `builds` those on how they are made, `webhooks`
    has where events are sent.
    """

    builds: Builds
    contexts: Contexts
    controls: Controls
    streams: Streams
    templates: Templates
    webhooks: Webhooks

    def __init__(
        self,
        store: Store,
        backend: Backend,
        settings: PoolSettings | None = None,
        *,
        state_dir: Path,
        clock: Callable[[], datetime] = utcnow,
        telemetry: Telemetry | None = None,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._lookup = lookup
        self._telemetry = telemetry or Telemetry()
        self._hurried = False
        self.settings = settings or PoolSettings()
        self._store = store
        self._backend = backend
        self._state_dir = state_dir
        self._clock = clock

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            self._journal = Journal(self._store.events, self._clock, self.settings.keep_events)
            self._context = context = Context(
                store=self._store,
                backend=self._backend,
                info=await self._backend.describe(),
                settings=self.settings,
                clock=self._clock,
                host=Host(self._state_dir),
                registry=Registry(self._store.vms, self._journal.vm),
                connections=Connections(
                    self._backend, tasks, self.settings.agent_patience, self._telemetry.metrics
                ),
                outputs=Outputs(
                    self._store, Spool(self._state_dir / "spool", self.settings.keep_free), self.settings
                ),
                tasks=tasks,
                journal=self._journal,
                secrets=await Secrets.open(self._store.secrets, self._state_dir / "secrets.key"),
                telemetry=self._telemetry,
            )
            packages = Packages(self.settings.packages, self._state_dir / "packages", tasks)
            stack.push_async_callback(packages.aclose)
            self._packages = packages
            self._executions = Executions(context, packages)
            self.controls = Controls(context, self._executions, self.awake, self.get_execution)
            self._warmer = Warmer(context, self._executions)
            self._warm_pool = WarmPool(context, self._warmer)
            self._networks = Networks(context, self._lookup, packages.registry)
            packages.open_registry = self._networks.open_registry
            self._ports = Ports(context)
            self.webhooks = await self._webhooks(tasks)
            self._lifecycle = Lifecycle(
                context, self._executions, self._warmer, self._warm_pool, self._networks
            )
            self._snapshots = Snapshots(context, self._lifecycle, self._executions)
            self.templates = Templates(context, self._lifecycle, self._snapshots)
            self._snapshot_files = SnapshotFiles(context, self._snapshots)
            self._forks = Forks(context, self._lifecycle, self._snapshots)
            self._resizing = Resizing(context, self._lifecycle)
            self.streams = Streams(context, self._executions, self.get_execution)
            self._files = Files(context)
            self.contexts = Contexts(context)
            self.builds = Builds(
                Tools(
                    context,
                    self._lifecycle,
                    self._snapshots,
                    self.templates,
                    self._executions,
                    self.streams,
                    self._files,
                ),
                self._state_dir / "builds",
            )
            self._pausing = Pausing(context, self._executions, self.contexts, self._lifecycle)
            self._logs = Logs(context, self._executions)
            self._status = Status(context, self._executions, self._warm_pool)
            reconciler = Reconciler(
                context,
                self._executions,
                self._lifecycle,
                self._snapshots,
                self._warm_pool,
                self._resizing,
                self.templates,
                self.builds,
            )
            expiry = Expiry(
                context,
                self._executions,
                self.controls,
                self.contexts,
                self._lifecycle,
                self._pausing,
                self._status,
            )
            await context.outputs.begin()
            await context.registry.load()
            await self._journal.open()
            self._journal.started({vm.user_id for vm in context.registry.all()})
            tasks.start_soon(self._journal.run, name="events")
            await self.webhooks.open()
            self._shares = await Shares.open(self._state_dir / "shares.json", context.registry, self._clock)
            await reconciler.inherit()
            tasks.start_soon(reconciler.run, name="reconciler")
            with anyio.move_on_after(FIRST_ROUND):
                await reconciler.first_round.wait()
            for vm in context.registry.all():
                if vm.state is VMState.RUNNING:
                    self._warmer.found(vm)
                    self._networks.soon(vm)
            tasks.start_soon(expiry.run, name="expiry")
            tasks.start_soon(self._warmer.run, name="warmer")
            tasks.start_soon(self._networks.run, name="network log")
            tasks.start_soon(self._warm_pool.run, name="warm pool")
            tasks.start_soon(watch_loop, self._telemetry.metrics.loop_lag, name="loop lag")
            self._exit = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._context.closing = True
        for vm in self._context.registry.all():
            self._context.feed.close(vm.id)
        try:
            with anyio.move_on_after(self.settings.cleanup_timeout, shield=True):
                await self._context.registry.flush()
                await self._networks.flush()
                await self._journal.flush()
                if not self._hurried:
                    await self._warm_pool.close()
        finally:
            await self._exit.aclose()

    def hurry(self) -> None:
        """Close without what can be left: waiting VMs stay, and the next server destroys them."""
        self._hurried = True

    @property
    def backend_info(self) -> BackendInfo:
        """What the backend said of itself when the pool was opened."""
        return self._context.info

    # -- VMs

    async def create_vm(self, user_id: int, request: VMRequest) -> VM:
        """A new running VM, with its packages; see `Lifecycle.create` and `Templates.source` for what
        it raises.

        InvalidRequest where its packages could not be installed; then there is no VM.
        """
        source, origin = None, NOTHING
        if request.template is not None and request.template not in self._context.info.templates:
            request, source, origin = await self.templates.source(user_id, request)
        if not request.packages:
            return await self._lifecycle.create(user_id, request, source, origin)
        check_packages(self._packages.manager(language_of(request).name, None), request.packages)
        vm = await self._lifecycle.create(user_id, request, source, origin)
        try:
            asked = ExecutionRequest(packages=request.packages, timeout=self.settings.default_timeout)
            execution = await self._executions.execute(vm, asked)
            if execution.outcome is None or execution.outcome.exit_code != 0:
                raise not_installed(execution)
        except BaseException:
            with anyio.move_on_after(self.settings.cleanup_timeout, shield=True):
                await self._unmake(user_id, vm)
            raise
        return self._context.registry.find(user_id, vm.id)

    async def _unmake(self, user_id: int, vm: VM) -> None:
        """It is not what was asked for; what cannot be deleted now stays as any VM whose deletion failed."""
        try:
            await self.delete_vm(user_id, vm.id)
        except VMPoolError:
            logger.exception("VM %s, without its packages, could not be deleted", vm.id)

    async def list_vms(
        self, user_id: int, *, limit: int | None = None, before_id: int | None = None
    ) -> list[VM]:
        """The user's VMs, newest first.  before_id: only older ones, for paging."""
        found = self._context.registry.of_user(user_id)
        if before_id is not None:
            found = [vm for vm in found if vm.id < before_id]
        return found[:limit]

    async def list_all_vms(self, *, limit: int, before_id: int | None = None) -> list[VM]:
        """Everybody's VMs, newest first.  before_id: only older ones, for paging."""
        newest_first = sorted(self._context.registry.all(), key=lambda vm: vm.id, reverse=True)
        return [vm for vm in newest_first if before_id is None or vm.id < before_id][:limit]

    async def get_vm(self, user_id: int, reference: Reference) -> VM:
        """One VM; an errored one carries its reason in `error`."""
        return self._context.registry.find(user_id, reference)

    async def delete_vm(self, user_id: int, reference: Reference) -> None:
        """Destroy it with its files; its history stays.  VMNotFound the second time."""
        await self._lifecycle.delete(self._standing(user_id, reference))

    async def start_vm(self, user_id: int, reference: Reference) -> VM:
        """Start a stopped (or errored) VM with its files; a running one is answered as it is."""
        return await self._lifecycle.start(await self.awake(user_id, reference))

    async def stop_vm(self, user_id: int, reference: Reference) -> VM:
        """End what runs, keep the files; a stopped VM is answered as it is."""
        return await self._lifecycle.stop(self._standing(user_id, reference))

    async def restart_vm(self, user_id: int, reference: Reference) -> VM:
        """Stop and start; files stay."""
        return await self._lifecycle.restart(self._standing(user_id, reference))

    async def pause_vm(self, user_id: int, reference: Reference) -> VM:
        """Hold a running VM with its memory; see `Pausing.pause` for what it raises."""
        return await self._pausing.pause(self._standing(user_id, reference))

    async def resume_vm(self, user_id: int, reference: Reference) -> VM:
        """Let a paused VM go on; see `Pausing.resume` for what it raises."""
        return await self._pausing.resume(self._standing(user_id, reference))

    async def awake(self, user_id: int, reference: Reference) -> VM:
        """A VM that is about to be used, as the verbs of `contexts` want it: one that is paused goes on."""
        return await self._pausing.awake(self._standing(user_id, reference))

    async def stop_vms_of(self, user_id: int) -> None:
        """Stop the user's running VMs, all at once, and keep their files.  What fails is in the log."""
        async with anyio.create_task_group() as tasks:
            for vm in self._context.registry.of_user(user_id):
                if vm.state in (VMState.RUNNING, VMState.PAUSED):
                    tasks.start_soon(self._stop_quietly, vm)

    async def change_limits(self, user_id: int, reference: Reference, asked: LimitsRequest) -> VM:
        """Give a running or stopped VM other limits; see `Resizing.change` for what it raises."""
        return await self._resizing.change(self._standing(user_id, reference), asked)

    # -- executions

    async def execute(self, user_id: int, reference: Reference, request: ExecutionRequest) -> Execution:
        """Run code and answer with its settled row; see `Executions.execute` for what it raises."""
        return await self._executions.execute(await self.awake(user_id, reference), request)

    async def start_execution(
        self, user_id: int, reference: Reference, request: ExecutionRequest
    ) -> Execution:
        """Begin to run code and answer with its row once the agent has taken it; raises as `execute` does."""
        return await self._executions.start(await self.awake(user_id, reference), request)

    def batch(
        self, user_id: int, request: ExecutionRequest, references: Sequence[Reference] | None = None
    ) -> Arrivals:
        """Run it in all these VMs at once (default: all the user's running ones, oldest first).

        Entering begins; iterating gives each item with its place as soon as that VM's code has ended.  One
        VM's failure, a missing VM included, is its item.  Leaving early leaves everything running.
        """
        if references is None:
            found = self._context.registry.of_user(user_id)
            references = [vm.id for vm in reversed(found) if vm.state is VMState.RUNNING]
        return as_they_end(references, lambda reference: self.execute(user_id, reference, request))

    async def batch_execute(
        self, user_id: int, request: ExecutionRequest, references: Sequence[Reference] | None = None
    ) -> list[Item]:
        """The same, answered as a whole in the order of `references`."""
        return await in_order(self.batch(user_id, request, references))

    async def list_executions(
        self,
        user_id: int,
        reference: Reference,
        *,
        limit: int = 100,
        before_id: int | None = None,
        state: ExecutionState | None = None,
    ) -> list[Execution]:
        """A VM's history, newest first; by id also of a VM the user has deleted.  state: only those in it,
        as their rows have it: an end is known a moment before."""
        vm = await self._known(user_id, reference)
        ahead = self._executions.ahead()
        rows = await self._store.executions.list(vm.id, limit=limit, before_id=before_id, state=state)
        return [self._executions.newest(row, ahead) for row in rows]

    async def get_execution(self, user_id: int, reference: Reference, execution_id: int) -> Execution:
        """One execution of a VM, running or settled; ExecutionNotFound."""
        vm = await self._known(user_id, reference)
        ahead = self._executions.ahead()
        return self._executions.newest(await self._store.executions.get(vm.id, execution_id), ahead)

    async def output(
        self, user_id: int, reference: Reference, execution_id: int, stream: Stream
    ) -> StoredOutput:
        """One stream of an execution, whole, open for reading; of one that still runs as far as it has come.

        Raises ExecutionNotFound, or OutputNotKept.  Close what it answers.
        """
        while True:
            execution = await self.get_execution(user_id, reference, execution_id)
            live = self._executions.spool_of(execution)
            try:
                return await self._context.outputs.open(execution, stream, live)
            except OutputNotKept:
                if live is None:  # else it has ended just now, and its row says where its output is
                    raise

    async def logs(self, user_id: int, reference: Reference, tail: int = DEFAULT_TAIL) -> list[LogEntry]:
        """Output of the last `tail` executions, oldest first, those that still run included."""
        return await self._logs.tail(await self._known(user_id, reference), tail)

    async def follow(
        self, user_id: int, reference: Reference, tail: int = DEFAULT_TAIL
    ) -> AsyncGenerator[LogEntry, None]:
        """The same and then everything as it is written, until the VM is deleted; VMNotFound at once.

        Close the generator (`contextlib.aclosing`) when leaving it early.
        """
        return self._logs.follow(self._context.registry.find(user_id, reference), tail)

    # -- snapshots

    async def snapshot(self, user_id: int, reference: Reference, name: str | None = None) -> Snapshot:
        """Keep the VM's files as they are now; Conflict for a name taken, Unsupported."""
        return await self._snapshots.take(self._standing(user_id, reference), name)

    async def list_snapshots(
        self, user_id: int, reference: Reference, *, limit: int | None = None, before_id: int | None = None
    ) -> list[Snapshot]:
        """The VM's snapshots, newest first."""
        vm = self._context.registry.find(user_id, reference)
        return await self._store.snapshots.list(vm.id, limit=limit, before_id=before_id)

    async def restore(self, user_id: int, reference: Reference, snapshot_id: int | str) -> VM:
        """Put the VM's files back; it runs afterwards.

        SnapshotNotFound, SnapshotMismatch, and SnapshotDamaged, after which the VM is as it was.
        """
        vm = self._standing(user_id, reference)
        snapshot = await self._store.snapshots.get(user_id, vm.id, snapshot_id)
        await self._snapshots.verify(snapshot)
        return await self._snapshots.restore(await self._pausing.awake(vm), snapshot)

    async def get_snapshot(self, user_id: int, reference: Reference, snapshot_id: int | str) -> Snapshot:
        """One of the VM's snapshots; SnapshotNotFound."""
        vm = self._context.registry.find(user_id, reference)
        return await self._store.snapshots.get(user_id, vm.id, snapshot_id)

    async def export_snapshot(self, user_id: int, reference: Reference, snapshot_id: int | str) -> Export:
        """A snapshot as one file, to be read or closed; SnapshotNotFound, SnapshotDamaged, Unsupported."""
        vm = self._standing(user_id, reference)
        snapshot = await self._store.snapshots.get(user_id, vm.id, snapshot_id)
        return await self._snapshot_files.export(vm, snapshot)

    async def import_snapshot(
        self, user_id: int, reference: Reference, name: str | None, content: AsyncIterator[bytes]
    ) -> Snapshot:
        """Keep what an export gave as a snapshot of this VM.

        name: None for the one it had, or another where that is taken.  SnapshotFileRefused, SnapshotMismatch,
        SnapshotTooLarge, Conflict, Unsupported; then nothing is kept.
        """
        return await self._snapshot_files.take_in(self._standing(user_id, reference), name, content)

    async def delete_snapshot(self, user_id: int, reference: Reference, snapshot_id: int | str) -> None:
        """Remove a snapshot; the VM stays as it is."""
        vm = self._standing(user_id, reference)
        await self._snapshots.delete(user_id, vm, snapshot_id)

    async def fork(
        self, user_id: int, reference: Reference, number: int, names: Sequence[str] | None = None
    ) -> list[VM]:
        """So many copies of the VM, all running, or none; see `Forks.make` for what it raises."""
        return await self._forks.make(self._standing(user_id, reference), number, names)

    async def publish(self, user_id: int, reference: Reference, name: str, description: str = "") -> Template:
        """The VM's files as they are now, as a template; see `Templates.publish` for what it raises."""
        return await self.templates.publish(self._standing(user_id, reference), name, description)

    # -- files

    async def files_of(self, user_id: int, reference: Reference) -> VMFiles:
        """The files of a VM; VMNotFound.  Everything asked of a VM that does not run is VMNotRunning."""
        return VMFiles(self._files, await self.awake(user_id, reference))

    # -- the network

    async def network(self, user_id: int, reference: Reference) -> Network:
        """What a VM may reach, and what it has used."""
        return self._networks.of(self._context.registry.find(user_id, reference))

    async def set_network(self, user_id: int, reference: Reference, policy: NetworkPolicy) -> Network:
        """Change what a VM may reach; others are cut.  Conflict, InvalidRequest."""
        vm = self._context.registry.find(user_id, reference)
        return self._networks.of(await self._networks.change(vm, policy))

    async def network_log(
        self, user_id: int, reference: Reference, *, limit: int = 100, before_id: int | None = None
    ) -> list[NetworkEntry]:
        """A VM's connections that have ended, newest first; by id also of a VM the user has deleted."""
        vm = await self._known(user_id, reference)
        await self._networks.flush()
        return await self._store.network.list(vm.id, limit=limit, before_id=before_id)

    # -- ports

    async def connect(self, user_id: int, reference: Reference, port: int) -> NetworkStream:
        """A connection to what listens at a port in the VM; see `Ports.connect` for what it raises."""
        return await self._ports.connect(await self.awake(user_id, reference), port)

    async def share(self, user_id: int, reference: Reference, port: int, seconds: int) -> Link:
        """A link to a port of the VM, which works for so long whether or not anything listens yet."""
        return self._shares.make(self._standing(user_id, reference), port, seconds)

    async def revoke_shares(self, user_id: int, reference: Reference, port: int) -> None:
        """End every link to this port of the VM."""
        await self._shares.revoke(self._context.registry.find(user_id, reference), port)

    def visited(self, host: str, token: str) -> tuple[VM, int] | None:
        """The VM and the port that a link opens; None where it is none.  host: its label."""
        return self._shares.visited(host, token)

    async def visit(self, host: str, token: str) -> NetworkStream:
        """A connection for whoever has a link; ShareInvalid, and as `Ports.connect`."""
        found = self.visited(host, token)
        if found is None:
            raise ShareInvalid
        vm, port = found
        return await self._ports.connect(await self.awake(vm.user_id, vm.id), port)

    # -- secrets

    async def set_secret(
        self,
        user_id: int,
        reference: Reference | None,
        name: str,
        value: str,
        hosts: Sequence[str] = (),
    ) -> Secret:
        """Keep a secret, for one VM or for all of the user's; see `Secrets.set` for what it raises."""
        vm = None if reference is None else self._context.registry.find(user_id, reference)
        return await self._context.secrets.set(user_id, vm, name, value, hosts)

    async def list_secrets(self, user_id: int) -> list[Secret]:
        """The user's secrets, without their values."""
        return await self._context.secrets.list(user_id)

    async def delete_secret(self, user_id: int, reference: Reference | None, name: str) -> None:
        """Forget a secret; SecretNotFound."""
        vm = None if reference is None else self._context.registry.find(user_id, reference)
        await self._context.secrets.delete(user_id, vm, name)

    # -- events

    async def list_events(
        self, user_id: int, wanted: Wanted, *, limit: int = 100, before_id: int | None = None
    ) -> list[Event]:
        """What happened to the user's VMs, newest first."""
        return await self._journal.list(user_id, wanted, limit=limit, before_id=before_id)

    async def follow_events(
        self, user_id: int, after: int | None, wanted: Wanted
    ) -> AsyncGenerator[Event | int, None]:
        """The same from a number on, and all that comes; see `Journal.follow`."""
        return await self._journal.follow(user_id, after, wanted)

    def vm_id_of(self, user_id: int, reference: Reference) -> int:
        """The number a reference means: of any VM there ever was, or of the one of this name; VMNotFound."""
        if isinstance(reference, int) or reference.isdecimal():
            return int(str(reference)[:12])
        return self._context.registry.find(user_id, reference).id

    # -- figures

    async def status(self, user_id: int, reference: Reference) -> VMStatus:
        """What the VM uses now."""
        return await self._status.of_vm(self._context.registry.find(user_id, reference))

    async def pool_status(self, user_id: int) -> PoolStatus:
        """What the pool allows and what is taken, the backend and the host."""
        return await self._status.of_pool(user_id)

    def families(self) -> Iterator[Family]:
        """What the pool has now, for metrics; of all users together."""
        return pool_families(self._context, self._executions, self._warm_pool, self._networks)

    def use_of(self, user_id: int) -> UserUse:
        """What this user takes of the pool now."""
        return self._status.use_of(user_id)

    # -- inside

    async def _webhooks(self, tasks: TaskGroup) -> Webhooks:
        settings = self.settings.webhooks
        resolver = Resolver(tasks, self._lookup, timeout=settings.timeout)
        poster = Poster(resolver, settings.admit, is_own, seconds=settings.timeout)
        key = await key_in(self._state_dir / "webhooks.key")
        return Webhooks(self._store.webhooks, self._journal, poster, self._clock, tasks, key)

    async def _stop_quietly(self, vm: VM) -> None:
        try:
            await self._lifecycle.stop(vm)
        except VMPoolError:
            logger.exception("VM %s could not be stopped", vm.id)

    def _standing(self, user_id: int, reference: Reference) -> VM:
        """A VM on the backend this server runs; every VM keeps the backend it was made on."""
        vm = self._context.registry.find(user_id, reference)
        if vm.backend != self._backend.name:
            raise BackendUnreachable(
                f"VM {vm.id} stands on the {vm.backend} backend; this server runs {self._backend.name}"
            )
        return vm

    async def _known(self, user_id: int, reference: Reference) -> VM:
        """A VM of the user's, by id also one that is deleted, for its history."""
        try:
            return self._context.registry.find(user_id, reference)
        except VMNotFound:
            if isinstance(reference, str) and not reference.isdecimal():
                raise
            vm = await self._store.vms.get_by_id(int(reference))
            if vm.user_id != user_id:
                raise
            return vm
