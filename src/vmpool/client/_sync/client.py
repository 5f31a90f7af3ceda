"""The client: one method for each endpoint."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import httpx

from vmpool.client import batch, local
from vmpool.client._sync.administration import Administration
from vmpool.client._sync.connection import Connection
from vmpool.client._sync.contexts import Contexts
from vmpool.client._sync.events import Events
from vmpool.client._sync.execution import ExecutionHandle
from vmpool.client._sync.executions import Executions
from vmpool.client._sync.files import Files
from vmpool.client._sync.forwarding import forwarding
from vmpool.client._sync.handle import VMHandle
from vmpool.client._sync.jobs import Jobs
from vmpool.client._sync.secrets import Secrets
from vmpool.client._sync.snapshots import Snapshots
from vmpool.client._sync.templates import Templates
from vmpool.client._sync.webhooks import Webhooks
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


class Client:
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
    Connections are opened at the first call and closed by `close` or the end of a `with` block.  Everything
    raises `vmpool.client.errors.ClientError`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        patience: float = 0.0,
        transport: httpx.BaseTransport | None = None,
        ca: str | Path | None = None,
    ) -> None:
        self._connection = Connection(local.locator(url, api_key, ca), patience=patience, transport=transport)
        self.admin = Administration(self._connection)
        self.executions = Executions(self._connection)
        self.events = Events(self._connection)
        self.webhooks = Webhooks(self._connection)
        self.jobs = Jobs(self)
        self.contexts = Contexts(self._connection)
        self.secrets = Secrets(self._connection)
        self.templates = Templates(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._connection.close()

    def address(self) -> local.Address:
        """Where the server is, and the key it is sent."""
        return self._connection.address()

    # --- VMs ---

    def create_vm(self, name: str, language: str | None = None, **options: Unpack[VMOptions]) -> VMHandle:
        """Make a VM and wait until it runs.  language: default: that of the `template`."""
        body = given(name=name, language=language, **options)
        wait = LONGEST_RUN + GRACE if options.get("packages") else MACHINE
        call = Call("POST", "/api/vms/create", body, idempotency_key=fresh_key(), wait=wait)
        return self._machine(call)

    def list_vms(self) -> list[VMHandle]:
        """All your VMs, newest first."""
        return [VMHandle.of(self, vm) for vm in self._all(VM, "/api/vms")]

    def get_vm(self, vm: int | str) -> VMHandle:
        """One VM."""
        return self._machine(Call("GET", vm_path(vm)))

    def start_vm(self, vm: int | str) -> VMHandle:
        """Start a stopped VM with the files it had."""
        return self._machine(Call("POST", vm_path(vm, "start")))

    def stop_vm(self, vm: int | str) -> VMHandle:
        """End a VM's processes and keep its files."""
        return self._machine(Call("POST", vm_path(vm, "stop")))

    def pause_vm(self, vm: int | str) -> VMHandle:
        """Hold a VM where it is, with its memory; what needs it lets it go on by itself.

        Conflict while something runs in it that has a time limit.
        """
        return self._machine(Call("POST", vm_path(vm, "pause")))

    def resume_vm(self, vm: int | str) -> VMHandle:
        """Let a paused VM go on."""
        return self._machine(Call("POST", vm_path(vm, "resume")))

    def restart_vm(self, vm: int | str) -> VMHandle:
        """Stop a VM and start it."""
        return self._machine(Call("POST", vm_path(vm, "restart")))

    def change_limits(self, vm: int | str, **limits: Unpack[LimitOptions]) -> VMHandle:
        """Give a running or stopped VM other limits; a hard disk grows while the VM is stopped."""
        return self._machine(Call("PATCH", vm_path(vm), given(**limits)))

    def delete_vm(self, vm: int | str) -> None:
        """Destroy a VM with its files."""
        self._connection.send(Call("DELETE", vm_path(vm), wait=MACHINE))

    def vm_status(self, vm: int | str) -> VMStatus:
        """Live CPU, memory, disk and process figures of a VM."""
        return self._one(VMStatus, Call("GET", vm_path(vm, "status")))

    # --- running code ---

    def execute(self, vm: int | str, code: str | None = None, **options: Unpack[RunOptions]) -> Execution:
        """Run `code` (or `command=`) in a running VM and wait for its result."""
        body = given(code=code, **options)
        return self._one(
            Execution,
            Call(
                "POST",
                vm_path(vm, "execute"),
                body,
                idempotency_key=fresh_key(),
                wait=(options.get("timeout") or LONGEST_RUN) + GRACE,
            ),
        )

    def batch_execute(
        self,
        code: str | None = None,
        vm_ids: Iterable[int | str] | None = None,
        **options: Unpack[RunOptions],
    ) -> list[Execution | BatchError]:
        """Run `code` in all of `vm_ids` at once (default: all your running VMs) and wait for all results.

        One VM's failure is that item's (a `BatchError`), not the batch's.
        """
        answer = self._connection.send(_batch_call(code, vm_ids, options))
        return batch.results(answer.content)

    def batch_stream(
        self,
        code: str | None = None,
        vm_ids: Iterable[int | str] | None = None,
        **options: Unpack[RunOptions],
    ) -> Generator[Arrival, None, None]:
        """Run `code` in all of `vm_ids` at once: each result when it is there, with its place in `vm_ids`.

        Without `vm_ids` in all your running VMs, oldest first.  One VM's failure is that item's.  Leaving
        early leaves everything running: what came of it is in the VMs' histories.  Put
        `contextlib.closing` around it where you do.
        """
        call = _batch_call(code, vm_ids, options)
        decoder, reader = Decoder(), batch.Reader()
        with self._connection.stream(call) as answer:
            for chunk in answer.iter_bytes():
                for event in decoder.feed(chunk):
                    arrival = reader.read(event)
                    if arrival is not None:
                        yield arrival
            if not reader.complete:
                raise httpx.RemoteProtocolError("the answer ended before the batch did")

    def run(
        self,
        vm: int | str,
        code: str | None = None,
        *,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        **options: Unpack[StreamOptions],
    ) -> Execution:
        """Run `code` (or `command=`), hand on what it writes as it comes, and answer its result."""
        return self.executions.run(vm, code, on_stdout=on_stdout, on_stderr=on_stderr, **options)

    def install(
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
        return self.run(
            vm,
            packages=packages,
            manager=manager,
            cwd=cwd,
            timeout=timeout,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
        )

    def begin(
        self, vm: int | str, code: str | None = None, **options: Unpack[BackgroundOptions]
    ) -> ExecutionHandle:
        """Begin to run `code` (or `command=`) in the background; it goes on whoever leaves."""
        return self.executions.begin(vm, code, **options)

    def list_executions(self, vm: int | str, limit: int = 100, state: str | None = None) -> list[Execution]:
        """A VM's latest executions, newest first, those that still run too; at most `limit`.

        state: only those in it: `running`, `finished` or `lost`.
        """
        narrowed = {} if state is None else {"state": state}
        return self._connection.all(Execution, vm_path(vm, "executions"), limit, **narrowed)

    def get_execution(self, vm: int | str, execution_id: int) -> Execution:
        """One execution; its `state` says whether it still runs."""
        return self._one(Execution, Call("GET", vm_path(vm, "executions", str(execution_id))))

    def output(
        self, vm: int | str, execution: Execution | int, stream: Stream = "stdout", *, offset: int = 0
    ) -> Generator[bytes, None, None]:
        """What an execution wrote to one stream, byte by byte and whole, in pieces.

        offset: bytes to leave out before it.  Of an execution that still runs it ends with what has come so
        far.  Put `contextlib.closing` around it where you leave the loop early.
        """
        path = vm_path(vm, "executions", str(number_of(execution)), "output")
        call = Call("GET", path, params={"stream": stream, "offset": offset})
        with self._connection.stream(call, BYTES) as answer:
            for chunk in answer.iter_bytes():
                yield chunk

    def logs(self, vm: int | str, tail: int | None = None) -> list[LogEntry]:
        """What a VM's last `tail` executions (default: 100) wrote, oldest first."""
        params = {} if tail is None else {"tail": tail}
        answer = self._connection.send(Call("GET", vm_path(vm, "logs"), params=params))
        return values(LogEntry, answer.content)

    def follow_logs(self, vm: int | str, tail: int | None = None) -> Generator[LogEntry, None, None]:
        """What a VM's last `tail` executions (default: 100) wrote, then everything as it is written.

        Ends when the VM is deleted or the server stops.  Put `contextlib.closing` around it where you leave
        the loop early.
        """
        params: dict[str, str | int] = (
            {"follow": "true"} if tail is None else {"follow": "true", "tail": tail}
        )
        call = Call("GET", vm_path(vm, "logs"), params=params, wait=None)
        decoder = Decoder()
        with self._connection.stream(call) as answer:
            for chunk in answer.iter_bytes():
                for event in decoder.feed(chunk):
                    yield value(LogEntry, data_of(event))

    # --- snapshots ---

    def snapshot(self, vm: int | str, name: str | None = None) -> Snapshot:
        """Keep a VM's files as they are now."""
        body = given(name=name)
        call = Call("POST", vm_path(vm, "snapshot"), body, idempotency_key=fresh_key(), wait=MACHINE)
        return self._one(Snapshot, call)

    def fork(
        self, vm: int | str, count: int | None = None, names: Sequence[str] | None = None
    ) -> list[VMHandle]:
        """Make copies of a VM with its files as they are now, all running, or none.

        count: default: as many as `names`, or one.  names: default: its own with the next free numbers.
        """
        body = given(count=count, names=names)
        call = Call("POST", vm_path(vm, "fork"), body, idempotency_key=fresh_key(), wait=MACHINE)
        return [VMHandle.of(self, made) for made in self._connection.several(VM, call)]

    def list_snapshots(self, vm: int | str) -> list[Snapshot]:
        """A VM's snapshots, newest first."""
        return self._all(Snapshot, vm_path(vm, "snapshots"))

    def restore(self, vm: int | str, snapshot: Snapshot | int) -> VMHandle:
        """Put a VM's files back to what a snapshot kept."""
        number = snapshot if isinstance(snapshot, int) else snapshot.id
        return self._machine(Call("POST", vm_path(vm, "restore"), {"snapshot_id": number}))

    @property
    def snapshots(self) -> Snapshots:
        """One snapshot at a time: what is known of it, and the way out and in as one file."""
        return Snapshots(self._connection)

    # --- files ---

    def files(self, vm: int | str) -> Files:
        """The files of a VM."""
        return Files(self._connection, vm)

    # --- the network ---

    def network(self, vm: int | str) -> Network:
        """What a VM may reach, and what it has used."""
        return self._one(Network, Call("GET", vm_path(vm, "network")))

    def set_network(self, vm: int | str, **policy: Unpack[PolicyOptions]) -> Network:
        """Change what a VM may reach, at once: the whole policy; what is left out is the default."""
        return self._one(Network, Call("PUT", vm_path(vm, "network"), given(**policy)))

    def network_log(self, vm: int | str, limit: int = 100) -> list[NetworkLogEntry]:
        """A VM's latest connections that have ended or were refused, newest first; at most `limit`."""
        return self._all(NetworkLogEntry, vm_path(vm, "network", "log"), limit)

    # --- ports ---

    @contextmanager
    def forward(
        self, vm: int | str, port: int, *, local_port: int = 0, problem: Problem = silence
    ) -> Iterator[Forward]:
        """A port of a VM at a port of this machine's loopback, while the block lasts.

        local_port: 0: any that is free.  problem: hears why a connection was closed that could not be
        carried, because nothing listens in the VM for instance; it is called while others are carried.
        """
        address = self._connection.address()
        path = vm_path(vm, "tunnels", str(port))
        with forwarding(address, path, port, local_port, problem) as forward:
            yield forward

    def share(self, vm: int | str, port: int, expires_in: int | None = None) -> Share:
        """Make a link with which whoever has it reaches this port of a VM.

        expires_in: seconds it works; default: the server's, an hour.
        """
        body = given(expires_in=expires_in)
        return self._one(Share, Call("POST", vm_path(vm, "shares", str(port)), body))

    def revoke_shares(self, vm: int | str, port: int) -> None:
        """End every link to this port of a VM."""
        self._connection.send(Call("DELETE", vm_path(vm, "shares", str(port))))

    # --- the pool, users and keys ---

    def pool_status(self) -> PoolStatus:
        """Limits, use, backend and host."""
        return self._one(PoolStatus, Call("GET", "/api/vms/pool-status"))

    def health(self) -> Health:
        """That the server answers, and its version."""
        return self._one(Health, Call("GET", "/health"))

    def ready(self) -> Readiness:
        """Whether the server's database and backend answer."""
        return self._one(Readiness, Call("GET", "/ready", also=(503,)))

    def create_key(
        self, name: str | None = None, ttl: int | None = None, scopes: Iterable[str] | None = None
    ) -> NewAPIKey:
        """Make an API key of your own; its secret is in this answer only.

        ttl: seconds.  scopes: of `read`, `execute`, `manage` and `admin`; default: all but `admin`.  It may
        do no more than the key it is made with, and not for longer.
        """
        body = given(name=name, ttl=ttl, scopes=None if scopes is None else list(scopes))
        return self._one(NewAPIKey, Call("POST", "/api/keys", body))

    def list_keys(self) -> list[APIKey]:
        """Your API keys."""
        return self._all(APIKey, "/api/keys")

    def revoke_key(self, key_id: int) -> None:
        """Make one of your API keys worthless."""
        self._connection.send(Call("DELETE", f"/api/keys/{key_id}"))

    def rotate_key(self, key_id: int, overlap: int | None = None) -> NewAPIKey:
        """A new API key in the place of one of yours.

        overlap: seconds the old one goes on working; default: the server's, 300.
        """
        return self._one(NewAPIKey, Call("POST", f"/api/keys/{key_id}/rotate", given(overlap=overlap)))

    # --- from answers to values ---

    def _machine(self, call: Call) -> VMHandle:
        patient = Call(call.method, call.path, call.body, idempotency_key=call.idempotency_key, wait=MACHINE)
        return VMHandle.of(self, self._one(VM, patient))

    def _one(self, model: type[A], call: Call) -> A:
        return self._connection.one(model, call)

    def _all(self, model: type[A], path: str, limit: int | None = None) -> list[A]:
        return self._connection.all(model, path, limit)


def _batch_call(code: str | None, vm_ids: Iterable[int | str] | None, options: RunOptions) -> Call:
    body = given(code=code, vm_ids=None if vm_ids is None else list(vm_ids), **options)
    wait = (options.get("timeout") or LONGEST_RUN) + GRACE
    return Call("POST", "/api/vms/batch-execute", body, wait=wait)
