"""The client: one method for each endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import httpx

from vmpool.client import batch, local
from vmpool.client._async.administration import AsyncAdministration
from vmpool.client._async.connection import AsyncConnection
from vmpool.client._async.contexts import AsyncContexts
from vmpool.client._async.events import AsyncEvents
from vmpool.client._async.execution import AsyncExecutionHandle
from vmpool.client._async.executions import AsyncExecutions
from vmpool.client._async.files import AsyncFiles
from vmpool.client._async.forwarding import forwarding
from vmpool.client._async.handle import AsyncVMHandle
from vmpool.client._async.jobs import AsyncJobs
from vmpool.client._async.secrets import AsyncSecrets
from vmpool.client._async.snapshots import AsyncSnapshots
from vmpool.client._async.templates import AsyncTemplates
from vmpool.client._async.webhooks import AsyncWebhooks
from vmpool.client.batch import Arrival
from vmpool.client.forwards import Forward, Problem, silence
from vmpool.client.models import (
    VM,
    APIKey,
    BatchError,
    Execution,
    Health,
    LogEntry,
    Network,
    NetworkLogEntry,
    NewAPIKey,
    PoolStatus,
    Readiness,
    Share,
    Snapshot,
    Stream,
    VMStatus,
)
from vmpool.client.options import (
    BackgroundOptions,
    LimitOptions,
    PolicyOptions,
    RunOptions,
    StreamOptions,
    VMOptions,
)
from vmpool.client.sse import Decoder
from vmpool.client.wire import (
    BYTES,
    GRACE,
    MACHINE,
    A,
    Call,
    data_of,
    fresh_key,
    given,
    number_of,
    value,
    values,
    vm_path,
)

LONGEST_RUN = 600.0
"""Seconds an execution may take when the request names no timeout: the specification's MAX_EXECUTION_TIME."""


class AsyncClient:
    """A vmpool server.  A VM is named by its id or its name everywhere.

    url, api_key: default: `VMPOOL_URL` and `VMPOOL_API_KEY`, else this machine's own server, which is
    started if need be.  patience: seconds a call may spend being refused with 429 or 503 (it waits as long
    as Retry-After says and asks again) before it raises; 0: raise at once.  transport: instead of the
    network, for tests and for in-process servers.  ca: a PEM file of the only certificates an `https` server
    may be certified by; default: `VMPOOL_CA`, else the system's.

    `admin` is what administrators do, `executions` what is done with those that run, `contexts` are kernels
    that remember, `events` what changes, `webhooks` where that is sent, `jobs` many runs of the same work,
    `secrets` what executions may be given, `templates` what VMs start from.  Creating, executing
    and taking a snapshot carry an idempotency key, so a broken connection never makes two of them.
    Connections are opened at the first call and closed by `aclose` or the end of a `with` block.  Everything
    raises `vmpool.client.errors.ClientError`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        patience: float = 0.0,
        transport: httpx.AsyncBaseTransport | None = None,
        ca: str | Path | None = None,
    ) -> None:
        self._connection = AsyncConnection(
            local.locator(url, api_key, ca), patience=patience, transport=transport
        )
        self.admin = AsyncAdministration(self._connection)
        self.executions = AsyncExecutions(self._connection)
        self.events = AsyncEvents(self._connection)
        self.webhooks = AsyncWebhooks(self._connection)
        self.jobs = AsyncJobs(self)
        self.contexts = AsyncContexts(self._connection)
        self.secrets = AsyncSecrets(self._connection)
        self.templates = AsyncTemplates(self._connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connection.aclose()

    async def address(self) -> local.Address:
        """Where the server is, and the key it is sent."""
        return await self._connection.address()

    # --- VMs ---

    async def create_vm(
        self, name: str, language: str | None = None, **options: Unpack[VMOptions]
    ) -> AsyncVMHandle:
        """Make a VM and wait until it runs.  language: default: that of the `template`."""
        body = given(name=name, language=language, **options)
        wait = LONGEST_RUN + GRACE if options.get("packages") else MACHINE
        call = Call("POST", "/api/vms/create", body, idempotency_key=fresh_key(), wait=wait)
        return await self._machine(call)

    async def list_vms(self) -> list[AsyncVMHandle]:
        """All your VMs, newest first."""
        return [AsyncVMHandle.of(self, vm) for vm in await self._all(VM, "/api/vms")]

    async def get_vm(self, vm: int | str) -> AsyncVMHandle:
        """One VM."""
        return await self._machine(Call("GET", vm_path(vm)))

    async def start_vm(self, vm: int | str) -> AsyncVMHandle:
        """Start a stopped VM with the files it had."""
        return await self._machine(Call("POST", vm_path(vm, "start")))

    async def stop_vm(self, vm: int | str) -> AsyncVMHandle:
        """End a VM's processes and keep its files."""
        return await self._machine(Call("POST", vm_path(vm, "stop")))

    async def pause_vm(self, vm: int | str) -> AsyncVMHandle:
        """Hold a VM where it is, with its memory; what needs it lets it go on by itself.

        Conflict while something runs in it that has a time limit.
        """
        return await self._machine(Call("POST", vm_path(vm, "pause")))

    async def resume_vm(self, vm: int | str) -> AsyncVMHandle:
        """Let a paused VM go on."""
        return await self._machine(Call("POST", vm_path(vm, "resume")))

    async def restart_vm(self, vm: int | str) -> AsyncVMHandle:
        """Stop a VM and start it."""
        return await self._machine(Call("POST", vm_path(vm, "restart")))

    async def change_limits(self, vm: int | str, **limits: Unpack[LimitOptions]) -> AsyncVMHandle:
        """Give a running or stopped VM other limits; a hard disk grows while the VM is stopped."""
        return await self._machine(Call("PATCH", vm_path(vm), given(**limits)))

    async def delete_vm(self, vm: int | str) -> None:
        """Destroy a VM with its files."""
        await self._connection.send(Call("DELETE", vm_path(vm), wait=MACHINE))

    async def vm_status(self, vm: int | str) -> VMStatus:
        """Live CPU, memory, disk and process figures of a VM."""
        return await self._one(VMStatus, Call("GET", vm_path(vm, "status")))

    # --- running code ---

    async def execute(
        self, vm: int | str, code: str | None = None, **options: Unpack[RunOptions]
    ) -> Execution:
        """Run `code` (or `command=`) in a running VM and wait for its result."""
        body = given(code=code, **options)
        return await self._one(
            Execution,
            Call(
                "POST",
                vm_path(vm, "execute"),
                body,
                idempotency_key=fresh_key(),
                wait=(options.get("timeout") or LONGEST_RUN) + GRACE,
            ),
        )

    async def batch_execute(
        self,
        code: str | None = None,
        vm_ids: Iterable[int | str] | None = None,
        **options: Unpack[RunOptions],
    ) -> list[Execution | BatchError]:
        """Run `code` in all of `vm_ids` at once (default: all your running VMs) and wait for all results.

        One VM's failure is that item's (a `BatchError`), not the batch's.
        """
        answer = await self._connection.send(_batch_call(code, vm_ids, options))
        return batch.results(answer.content)

    async def batch_stream(
        self,
        code: str | None = None,
        vm_ids: Iterable[int | str] | None = None,
        **options: Unpack[RunOptions],
    ) -> AsyncGenerator[Arrival, None]:
        """Run `code` in all of `vm_ids` at once: each result when it is there, with its place in `vm_ids`.

        Without `vm_ids` in all your running VMs, oldest first.  One VM's failure is that item's.  Leaving
        early leaves everything running: what came of it is in the VMs' histories.  Put
        `contextlib.aclosing` around it where you do.
        """
        call = _batch_call(code, vm_ids, options)
        decoder, reader = Decoder(), batch.Reader()
        async with self._connection.stream(call) as answer:
            async for chunk in answer.aiter_bytes():
                for event in decoder.feed(chunk):
                    arrival = reader.read(event)
                    if arrival is not None:
                        yield arrival
            if not reader.complete:
                raise httpx.RemoteProtocolError("the answer ended before the batch did")

    async def run(
        self,
        vm: int | str,
        code: str | None = None,
        *,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        **options: Unpack[StreamOptions],
    ) -> Execution:
        """Run `code` (or `command=`), hand on what it writes as it comes, and answer its result."""
        return await self.executions.run(vm, code, on_stdout=on_stdout, on_stderr=on_stderr, **options)

    async def install(
        self,
        vm: int | str,
        packages: Sequence[str],
        *,
        manager: str | None = None,
        cwd: str | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
    ) -> Execution:
        """Install packages in a running VM, and answer how that went: see `exit_code`.

        packages: names, each with a version if need be.  manager: default: that of the VM's language.  cwd:
        where it is called, which is where npm installs; default: /home/user.
        """
        return await self.run(
            vm,
            packages=packages,
            manager=manager,
            cwd=cwd,
            timeout=timeout,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )

    async def begin(
        self, vm: int | str, code: str | None = None, **options: Unpack[BackgroundOptions]
    ) -> AsyncExecutionHandle:
        """Begin to run `code` (or `command=`) in the background; it goes on whoever leaves."""
        return await self.executions.begin(vm, code, **options)

    async def list_executions(
        self, vm: int | str, limit: int = 100, state: str | None = None
    ) -> list[Execution]:
        """A VM's latest executions, newest first, those that still run too; at most `limit`.

        state: only those in it: `running`, `finished` or `lost`.
        """
        narrowed = {} if state is None else {"state": state}
        return await self._connection.all(Execution, vm_path(vm, "executions"), limit, **narrowed)

    async def get_execution(self, vm: int | str, execution_id: int) -> Execution:
        """One execution; its `state` says whether it still runs."""
        return await self._one(Execution, Call("GET", vm_path(vm, "executions", str(execution_id))))

    async def output(
        self, vm: int | str, execution: Execution | int, stream: Stream = "stdout", *, offset: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """What an execution wrote to one stream, byte by byte and whole, in pieces.

        offset: bytes to leave out before it.  Of an execution that still runs it ends with what has come so
        far.  Put `contextlib.aclosing` around it where you leave the loop early.
        """
        path = vm_path(vm, "executions", str(number_of(execution)), "output")
        call = Call("GET", path, params={"stream": stream, "offset": offset})
        async with self._connection.stream(call, BYTES) as answer:
            async for chunk in answer.aiter_bytes():
                yield chunk

    async def logs(self, vm: int | str, tail: int | None = None) -> list[LogEntry]:
        """What a VM's last `tail` executions (default: 100) wrote, oldest first."""
        params = {} if tail is None else {"tail": tail}
        answer = await self._connection.send(Call("GET", vm_path(vm, "logs"), params=params))
        return values(LogEntry, answer.content)

    async def follow_logs(self, vm: int | str, tail: int | None = None) -> AsyncGenerator[LogEntry, None]:
        """What a VM's last `tail` executions (default: 100) wrote, then everything as it is written.

        Ends when the VM is deleted or the server stops.  Put `contextlib.aclosing` around it where you leave
        the loop early.
        """
        params: dict[str, str | int] = (
            {"follow": "true"} if tail is None else {"follow": "true", "tail": tail}
        )
        call = Call("GET", vm_path(vm, "logs"), params=params, wait=None)
        decoder = Decoder()
        async with self._connection.stream(call) as answer:
            async for chunk in answer.aiter_bytes():
                for event in decoder.feed(chunk):
                    yield value(LogEntry, data_of(event))

    # --- snapshots ---

    async def snapshot(self, vm: int | str, name: str | None = None) -> Snapshot:
        """Keep a VM's files as they are now."""
        body = given(name=name)
        call = Call("POST", vm_path(vm, "snapshot"), body, idempotency_key=fresh_key(), wait=MACHINE)
        return await self._one(Snapshot, call)

    async def fork(
        self, vm: int | str, count: int | None = None, names: Sequence[str] | None = None
    ) -> list[AsyncVMHandle]:
        """Make copies of a VM with its files as they are now, all running, or none.

        count: default: as many as `names`, or one.  names: default: its own with the next free numbers.
        """
        body = given(count=count, names=names)
        call = Call("POST", vm_path(vm, "fork"), body, idempotency_key=fresh_key(), wait=MACHINE)
        return [AsyncVMHandle.of(self, made) for made in await self._connection.several(VM, call)]

    async def list_snapshots(self, vm: int | str) -> list[Snapshot]:
        """A VM's snapshots, newest first."""
        return await self._all(Snapshot, vm_path(vm, "snapshots"))

    async def restore(self, vm: int | str, snapshot: Snapshot | int) -> AsyncVMHandle:
        """Put a VM's files back to what a snapshot kept."""
        number = snapshot if isinstance(snapshot, int) else snapshot.id
        return await self._machine(Call("POST", vm_path(vm, "restore"), {"snapshot_id": number}))

    @property
    def snapshots(self) -> AsyncSnapshots:
        """One snapshot at a time: what is known of it, and the way out and in as one file."""
        return AsyncSnapshots(self._connection)

    # --- files ---

    def files(self, vm: int | str) -> AsyncFiles:
        """The files of a VM."""
        return AsyncFiles(self._connection, vm)

    # --- the network ---

    async def network(self, vm: int | str) -> Network:
        """What a VM may reach, and what it has used."""
        return await self._one(Network, Call("GET", vm_path(vm, "network")))

    async def set_network(self, vm: int | str, **policy: Unpack[PolicyOptions]) -> Network:
        """Change what a VM may reach, at once: the whole policy; what is left out is the default."""
        return await self._one(Network, Call("PUT", vm_path(vm, "network"), given(**policy)))

    async def network_log(self, vm: int | str, limit: int = 100) -> list[NetworkLogEntry]:
        """A VM's latest connections that have ended or were refused, newest first; at most `limit`."""
        return await self._all(NetworkLogEntry, vm_path(vm, "network", "log"), limit)

    # --- ports ---

    @asynccontextmanager
    async def forward(
        self, vm: int | str, port: int, *, local_port: int = 0, problem: Problem = silence
    ) -> AsyncIterator[Forward]:
        """A port of a VM at a port of this machine's loopback, while the block lasts.

        local_port: 0: any that is free.  problem: hears why a connection was closed that could not be
        carried, because nothing listens in the VM for instance; it is called while others are carried.
        """
        address = await self._connection.address()
        path = vm_path(vm, "tunnels", str(port))
        async with forwarding(address, path, port, local_port, problem) as forward:
            yield forward

    async def share(self, vm: int | str, port: int, expires_in: int | None = None) -> Share:
        """Make a link with which whoever has it reaches this port of a VM.

        expires_in: seconds it works; default: the server's, an hour.
        """
        body = given(expires_in=expires_in)
        return await self._one(Share, Call("POST", vm_path(vm, "shares", str(port)), body))

    async def revoke_shares(self, vm: int | str, port: int) -> None:
        """End every link to this port of a VM."""
        await self._connection.send(Call("DELETE", vm_path(vm, "shares", str(port))))

    # --- the pool, users and keys ---

    async def pool_status(self) -> PoolStatus:
        """Limits, use, backend and host."""
        return await self._one(PoolStatus, Call("GET", "/api/vms/pool-status"))

    async def health(self) -> Health:
        """That the server answers, and its version."""
        return await self._one(Health, Call("GET", "/health"))

    async def ready(self) -> Readiness:
        """Whether the server's database and backend answer."""
        return await self._one(Readiness, Call("GET", "/ready", also=(503,)))

    async def create_key(
        self, name: str | None = None, ttl: int | None = None, scopes: Iterable[str] | None = None
    ) -> NewAPIKey:
        """Make an API key of your own; its secret is in this answer only.

        ttl: seconds.  scopes: of `read`, `execute`, `manage` and `admin`; default: all but `admin`.  It may
        do no more than the key it is made with, and not for longer.
        """
        body = given(name=name, ttl=ttl, scopes=None if scopes is None else list(scopes))
        return await self._one(NewAPIKey, Call("POST", "/api/keys", body))

    async def list_keys(self) -> list[APIKey]:
        """Your API keys."""
        return await self._all(APIKey, "/api/keys")

    async def revoke_key(self, key_id: int) -> None:
        """Make one of your API keys worthless."""
        await self._connection.send(Call("DELETE", f"/api/keys/{key_id}"))

    async def rotate_key(self, key_id: int, overlap: int | None = None) -> NewAPIKey:
        """A new API key in the place of one of yours.

        overlap: seconds the old one goes on working; default: the server's, 300.
        """
        return await self._one(NewAPIKey, Call("POST", f"/api/keys/{key_id}/rotate", given(overlap=overlap)))

    # --- from answers to values ---

    async def _machine(self, call: Call) -> AsyncVMHandle:
        patient = Call(call.method, call.path, call.body, idempotency_key=call.idempotency_key, wait=MACHINE)
        return AsyncVMHandle.of(self, await self._one(VM, patient))

    async def _one(self, model: type[A], call: Call) -> A:
        return await self._connection.one(model, call)

    async def _all(self, model: type[A], path: str, limit: int | None = None) -> list[A]:
        return await self._connection.all(model, path, limit)


def _batch_call(code: str | None, vm_ids: Iterable[int | str] | None, options: RunOptions) -> Call:
    body = given(code=code, vm_ids=None if vm_ids is None else list(vm_ids), **options)
    wait = (options.get("timeout") or LONGEST_RUN) + GRACE
    return Call("POST", "/api/vms/batch-execute", body, wait=wait)
