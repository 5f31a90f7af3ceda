"""The verbs on contexts, each for one VM of the caller's; what is kept of them is a row each."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from weakref import WeakValueDictionary

import anyio

from vmpool.agent.base import Process
from vmpool.agent.messages import Reason
from vmpool.domain import VM, VMState
from vmpool.domain.code_context import CodeContext, CodeContextView, ContextState
from vmpool.errors import (
    AgentRefused,
    AgentUnreachable,
    ContextDead,
    InfrastructureFailure,
    InvalidRequest,
    TooManyContexts,
    VMNotRunning,
)
from vmpool.pool.context import Context, key_of
from vmpool.pool.contexts.cell import MOST_BYTES_OF_VM, Budget, Cell
from vmpool.pool.contexts.kernels import agent_id, first_input, kernel_language, spec_of
from vmpool.pool.contexts.live import LiveContext
from vmpool.telemetry import log_context

logger = logging.getLogger(__name__)

MOST_CONTEXTS = 16
"""Contexts of one VM, dead ones included."""
START_PATIENCE = 30.0
"""Seconds a kernel has to start."""


class Contexts:
    """All contexts of this server.

    A kernel belongs to its VM and outlives the server: the next one finds it by its row when somebody asks.
    It ends with the VM's stop, restore or deletion.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._live: dict[int, LiveContext] = {}
        self._finding: dict[int, anyio.Lock] = {}
        self._budgets: WeakValueDictionary[int, Budget] = WeakValueDictionary()

    def running(self, vm_id: int) -> int:
        """How many cells run in this VM now."""
        return sum(
            live.context.vm_id == vm_id and live.state is ContextState.BUSY for live in self._live.values()
        )

    async def create(
        self, vm: VM, language: str | None, cwd: str | None, env: Mapping[str, str]
    ) -> CodeContextView:
        """A new context, ready for cells.

        Raises InvalidRequest where its language has no kernel or cannot be started in this VM, VMNotRunning,
        TooManyContexts, and InfrastructureFailure.
        """
        name = kernel_language(vm, language)
        self._check(vm)
        contexts = self._context.store.contexts
        row = await contexts.begin(vm.id, name, cwd, env, most=MOST_CONTEXTS)
        if row is None:
            raise TooManyContexts(vm.id, MOST_CONTEXTS)
        try:
            live = await self._start(vm, row)
        except BaseException:
            with anyio.CancelScope(shield=True), anyio.move_on_after(self._context.settings.cleanup_timeout):
                await self._end(self._live.pop(row.id, None), "it could not be started")
                await contexts.delete(row.id)
            raise
        return _view(live)

    async def list(self, vm: VM) -> list[CodeContextView]:
        """The VM's contexts, newest first."""
        return [await self._seen(vm, row) for row in await self._context.store.contexts.list(vm.id)]

    async def get(self, vm: VM, context_id: int) -> CodeContextView:
        """One of them; ContextNotFound."""
        return await self._seen(vm, await self._context.store.contexts.get(vm.id, context_id))

    async def run(self, vm: VM, context_id: int, code: str, timeout: float) -> Cell:
        """Line a cell up, which runs whoever waits for it; ContextNotFound, ContextDead, TooManyCells."""
        self._check(vm)
        if not 0 < timeout <= self._context.settings.max_timeout:
            raise InvalidRequest(
                "timeout", f"must be above 0 and at most {self._context.settings.max_timeout:g}"
            )
        if "\0" in code:
            raise InvalidRequest("code", "must not hold the character NUL")
        live = await self._find(vm, await self._context.store.contexts.get(vm.id, context_id))
        cell = Cell(code, timeout, self._budget(vm.id))
        live.line_up(cell)
        self._context.tasks.start_soon(live.carry, cell)
        return cell

    async def interrupt(self, vm: VM, context_id: int) -> CodeContextView:
        """Interrupt the cell that runs, if one does; ContextNotFound, ContextDead."""
        live = await self._find(vm, await self._context.store.contexts.get(vm.id, context_id))
        await live.interrupt()
        return _view(live)

    async def restart(self, vm: VM, context_id: int) -> CodeContextView:
        """A new kernel in place of the one that is there, or was; raises as `create` does."""
        contexts = self._context.store.contexts
        await contexts.get(vm.id, context_id)
        self._check(vm)
        async with self._holding(context_id):
            await self._end(self._live.pop(context_id, None), "it was restarted")
            row = await contexts.restart(vm.id, context_id)
            try:
                return _view(await self._start(vm, row))
            except InvalidRequest as error:
                await contexts.fail(row.id, row.starts, error.message)
                raise

    async def delete(self, vm: VM, context_id: int) -> None:
        """End it with everything it started; ContextNotFound."""
        contexts = self._context.store.contexts
        row = await contexts.get(vm.id, context_id)
        async with self._holding(context_id):
            if row.failure is None and vm.state is VMState.RUNNING and context_id not in self._live:
                await self._attach(vm, row)
            await self._end(self._live.pop(context_id, None), "it was deleted")
            await contexts.delete(context_id)
        self._finding.pop(context_id, None)

    # -- inside

    def _check(self, vm: VM) -> None:
        if vm.state is not VMState.RUNNING:
            raise VMNotRunning(vm.id, vm.state.value)
        if self._context.closing:
            raise AgentUnreachable("the server is shutting down", dispatch="never_dispatched")

    def _budget(self, vm_id: int) -> Budget:
        """Shared by the VM's cells; nothing is kept for a VM that has none."""
        budget = self._budgets.get(vm_id)
        if budget is None:
            budget = self._budgets[vm_id] = Budget(MOST_BYTES_OF_VM)
        return budget

    def _holding(self, context_id: int) -> anyio.Lock:
        """Held by who starts, finds or ends its kernel."""
        return self._finding.setdefault(context_id, anyio.Lock())

    async def _seen(self, vm: VM, row: CodeContext) -> CodeContextView:
        if row.failure is None:
            try:
                return _view(await self._find(vm, row))
            except ContextDead as dead:
                return CodeContextView(_failed(row, dead.failure), ContextState.DEAD, 0, 0)
        return CodeContextView(row, ContextState.DEAD, 0, 0)

    async def _find(self, vm: VM, row: CodeContext) -> LiveContext:
        """The one that runs, attached to where an earlier server left it; ContextDead."""
        live = self._live.get(row.id)
        if live is None and row.failure is None:
            async with self._holding(row.id):
                live = self._live.get(row.id) or await self._attach(vm, row)
        if live is None:
            row = await self._context.store.contexts.get(vm.id, row.id)
            raise ContextDead(row.id, row.failure or "its kernel is not there")
        if live.failure is not None:
            raise ContextDead(row.id, live.failure)
        return live

    async def _attach(self, vm: VM, row: CodeContext) -> LiveContext | None:
        """Follow a kernel that runs already; None, noted in its row, where there is none."""
        if vm.state is not VMState.RUNNING:
            await self._context.store.contexts.fail(row.id, row.starts, _was(vm))
            return None
        client = self._context.connections.get(key_of(vm))
        if (agent_id(row), True) not in await client.executions():
            await self._context.store.contexts.fail(
                row.id, row.starts, "its kernel has not outlived a stop of its VM, or a failure of its start"
            )
            return None
        process = await client.start(agent_id(row), spec_of(vm, row))
        await client.ping()  # what was written to it before is known after this
        live = self._followed(vm, row, process)
        await live.ask()
        return live

    async def _start(self, vm: VM, row: CodeContext) -> LiveContext:
        """Start its kernel and wait until it takes cells."""
        client = self._context.connections.get(key_of(vm))
        try:
            process = await client.start(agent_id(row), spec_of(vm, row))
        except AgentRefused as error:
            if error.reason in (Reason.NOT_FOUND, Reason.PERMISSION, Reason.NOT_A_FILE):
                raise InvalidRequest("cwd", f"'{row.cwd}' cannot be used: {error.message}") from error
            raise
        live = self._followed(vm, row, process)
        await live.write(first_input(row))
        with anyio.move_on_after(START_PATIENCE):
            await live.ready.wait()
        if not live.ready.is_set():
            await live.end("its kernel did not start in time")
        if live.failure is not None:
            raise InvalidRequest("language", f"{row.language} cannot be started in this VM: {live.failure}")
        self._used(vm.id)
        return live

    def _followed(self, vm: VM, row: CodeContext, process: Process) -> LiveContext:
        secrets = self._context.secrets
        live = LiveContext(row, process, lambda: self._used(vm.id), lambda: secrets.mask(vm))
        self._live[live.context.id] = live
        self._context.tasks.start_soon(self._follow, vm, live)
        return live

    async def _follow(self, vm: VM, live: LiveContext) -> None:
        """Until its kernel ends, which its row then says."""
        log_context.outside()
        log_context.for_vm(vm.id)
        row = live.context
        try:
            exit = await live.read()
            if exit is not None:
                reason = self._ended_by(vm.id)
                if reason is None:
                    live.ended(exit)
                else:
                    live.lost(reason)
                await live.release()
        except InfrastructureFailure as error:
            if self._live.get(row.id) is live:
                del self._live[row.id]
            reason = self._ended_by(vm.id)
            live.lost(reason or f"its VM does not answer: {error.message}")
            if reason is None:  # it may be there all the same: who asks next finds out
                return
        except Exception:  # a defect of ours must not end the pool
            logger.exception("context %s of VM %s failed", row.id, vm.id)
            await live.end("of a defect in the server")
        if not live.deleted and not self._context.closing and live.failure is not None:
            await self._context.store.contexts.fail(row.id, row.starts, live.failure)

    def _ended_by(self, vm_id: int) -> str | None:
        """What has ended the VM's processes, where something has."""
        vm = self._context.registry.get(vm_id)
        if vm is None:
            return "its VM was deleted"
        return None if vm.state in (VMState.RUNNING, VMState.PAUSED) else _was(vm)

    async def _end(self, live: LiveContext | None, reason: str) -> None:
        if live is not None:
            live.deleted = True
            await live.end(reason)

    def _used(self, vm_id: int) -> None:
        if self._context.registry.get(vm_id) is not None:
            self._context.registry.touch(vm_id, self._context.clock())


def _was(vm: VM) -> str:
    """What has happened to a VM that does not run."""
    return f"its VM was {_VERBS.get(vm.state, vm.state.value)}"


_VERBS = {VMState.STOPPING: "stopped", VMState.RESTORING: "restored", VMState.DELETING: "deleted"}


def _view(live: LiveContext) -> CodeContextView:
    return CodeContextView(_failed(live.context, live.failure), live.state, live.cells, live.waiting)


def _failed(row: CodeContext, failure: str | None) -> CodeContext:
    return CodeContext(row.id, row.vm_id, row.language, row.created_at, row.cwd, row.env, row.starts, failure)
