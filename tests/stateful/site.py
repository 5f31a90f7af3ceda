"""A server with one user, driven from a thread that is not its own, and killed at will."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.from_thread import BlockingPortal

from tests.conformance.backends import Candidate
from vmpool.domain import ExecutionRequest, VMState
from vmpool.errors import VMNotFound, VMPoolError
from vmpool.pool.requests import VMRequest
from vmpool.pool.settings import PoolSettings
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.warm_pool.bounds import Bounds
from vmpool.store import open_store

from .model import Answer, State, Verb

SETTINGS = PoolSettings(
    host_memory=1_000_000,
    max_vms_per_user=1000,
    max_total_vms=1000,
    reconcile_every=0.2,
    stop_grace=0.2,
    warm_spares=0,
    warm_pool=Bounds(maximum=0),
)
WRITE = "cat > note"
READ = "cat note 2>/dev/null || echo -n absent"


class Site:
    """A world of machines, a database, and the server on them now."""

    pool: VMPoolManager

    def __init__(self, candidate: Candidate, portal: BlockingPortal) -> None:
        self._candidate = candidate
        self._portal = portal
        self._directory = Path(tempfile.mkdtemp(prefix="vmpool-stateful-"))
        self._ground = portal.wrap_async_context_manager(self._grounded())
        self.user = self._ground.__enter__()
        self._begin()

    def close(self) -> None:
        """End the server, and have nothing left of its machines."""
        self._server.__exit__(None, None, None)
        self._ground.__exit__(None, None, None)
        shutil.rmtree(self._directory)

    def another_server(self) -> None:
        """End the server and start the next one on the same machines and rows."""
        self._server.__exit__(None, None, None)
        self._begin()

    def _begin(self) -> None:
        self._server = self._portal.wrap_async_context_manager(self._serving())
        self.pool = self._server.__enter__()

    @asynccontextmanager
    async def _grounded(self) -> AsyncIterator[int]:
        """What outlives a server: machines and rows; the user's id."""
        async with self._candidate.open_world() as self._world:
            async with open_store(f"sqlite:///{self._directory}/vmpool.db") as self._store:
                yield (await self._store.users.ensure("ada")).id

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[VMPoolManager]:
        async with (
            self._world.backend() as backend,
            VMPoolManager(self._store, backend, SETTINGS, state_dir=self._directory) as pool,
        ):
            yield pool

    def seen(self, vm: str) -> tuple[State, frozenset[str]] | None:
        """A VM's state and its snapshots' names; None where there is no such VM."""

        async def look() -> tuple[State, frozenset[str]] | None:
            try:
                state = (await self.pool.get_vm(self.user, vm)).state
            except VMNotFound:
                return None
            assert state in (VMState.RUNNING, VMState.STOPPED), state
            kept = await self.pool.list_snapshots(self.user, vm)
            return ("running" if state is VMState.RUNNING else "stopped"), frozenset(one.name for one in kept)

        return self._portal.call(look)

    def ask(self, vm: str, verbs: list[Verb]) -> dict[int, Answer]:
        """Ask all of them at the same time, in this order; the answers by place."""
        answers: dict[int, Answer] = {}

        async def one(place: int, verb: Verb) -> None:
            try:
                answers[place] = await self._do(vm, verb)
            except VMPoolError as error:
                answers[place] = type(error).__name__

        async def all_of_them() -> None:
            async with anyio.create_task_group() as tasks:
                for place, verb in enumerate(verbs):
                    tasks.start_soon(one, place, verb)

        self._portal.call(all_of_them)
        return answers

    async def _do(self, vm: str, verb: Verb) -> Answer:
        pool, user = self.pool, self.user
        match verb.name:
            case "create":
                return (await pool.create_vm(user, VMRequest(name=vm, language="bash"))).state.value
            case "start":
                return (await pool.start_vm(user, vm)).state.value
            case "stop":
                return (await pool.stop_vm(user, vm)).state.value
            case "restart":
                return (await pool.restart_vm(user, vm)).state.value
            case "restore":
                return (await pool.restore(user, vm, verb.word)).state.value
            case "delete":
                await pool.delete_vm(user, vm)
                return "deleted"
            case "snapshot":
                await pool.snapshot(user, vm, verb.word)
                return "kept"
            case "drop":
                await pool.delete_snapshot(user, vm, verb.word)
                return "dropped"
            case "write":
                return "written" if (await self._run(vm, WRITE, verb.word)) == "" else "not written"
            case "read":
                text = await self._run(vm, READ, "")
                return repr(None if text == "absent" else text)

    async def _run(self, vm: str, command: str, stdin: str) -> str:
        request = ExecutionRequest(command=command, stdin=stdin, timeout=30)
        done = await self.pool.execute(self.user, vm, request)
        assert done.outcome is not None
        assert done.outcome.exit_code == 0, done.outcome
        return done.outcome.output
