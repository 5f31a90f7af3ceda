"""Executions: announced, dispatched, followed to their end and recorded, whoever stops waiting for them."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from time import perf_counter

import anyio

from vmpool.agent.base import Exit, Output, Process
from vmpool.agent.messages import Reason
from vmpool.backends.base import MachineKey
from vmpool.domain import VM, Execution, ExecutionRequest, ExecutionState, VMState
from vmpool.errors import (
    AgentRefused,
    AgentUnreachable,
    InfrastructureFailure,
    InvalidRequest,
    TooManyExecutions,
    VMNotRunning,
    VMPoolError,
)
from vmpool.pool.context import Context, key_of
from vmpool.pool.packages import Packages
from vmpool.pool.requests import check_execution
from vmpool.pool.run import KILLED, Run
from vmpool.pool.runner import language_of, process_spec
from vmpool.pool.spool import SpooledOutput
from vmpool.telemetry import log_context

logger = logging.getLogger(__name__)

RECORD_AGAIN = 1.0
"""Seconds until an end that the database did not take is written again."""
KILL_WAIT = 5.0
"""Seconds an execution past every time limit is given to end after SIGKILL."""


class Executions:
    """All executions of this server, by VM.

    Each runs in a task of the pool's own: a caller that goes away leaves it running and recorded.  At the
    server's end nothing is settled: the programs go on, and the next server takes them over.
    """

    def __init__(self, context: Context, packages: Packages) -> None:
        self._context = context
        self._packages = packages
        self._runs: dict[int, set[Run]] = {}
        self._oom_kills: dict[MachineKey, int] = {}
        self._settling: dict[int, Execution] = {}
        self.dispatched: Callable[[VM, str], None] = lambda vm, language: None
        """Told of each execution that an agent has taken: the VM and the language."""

    # -- what callers ask

    async def execute(self, vm: VM, request: ExecutionRequest) -> Execution:
        """Run it and answer with its settled row.

        A program that fails, times out or is killed is a result, and so is one that a stop or delete
        ended (state LOST, `failure` says which).  Raises InvalidRequest, VMNotRunning, TooManyExecutions,
        and InfrastructureFailure whose `dispatch` says whether the code may have run.
        """
        run = self._begin(vm, request)
        await run.done.wait()
        return run.result()

    async def start(self, vm: VM, request: ExecutionRequest) -> Execution:
        """The same, answered once the agent has taken it, or not: then it raises as `execute` does."""
        run = self._begin(vm, request)
        await run.taken.wait()
        if run.process is None or run.execution is None:
            return run.result()
        return run.execution

    def _begin(self, vm: VM, request: ExecutionRequest) -> Run:
        context = self._context
        check_execution(request, context.settings)
        if request.packages:
            request = self._packages.install(vm, request)
        language = language_of(vm, request)
        if request.secrets:
            variables = context.secrets.variables(vm, request.secrets)
            request = replace(request, env={**request.env, **variables})
        if vm.state is not VMState.RUNNING:
            raise VMNotRunning(vm.id, vm.state.value)
        if context.closing:  # a task begun in a group that is being left would never end
            raise AgentUnreachable("the server is shutting down", dispatch="never_dispatched")
        of_vm = self._runs.setdefault(vm.id, set())
        if self.in_flight(vm.id) >= context.settings.max_in_flight:
            raise TooManyExecutions(vm.id, context.settings.max_in_flight)
        run = Run(vm, context.settings.max_output, self._oom_kills.get(key_of(vm), 0))
        run.began = perf_counter()
        if vm.user_id in context.secrets.values:
            run.hide(context.secrets.mask(vm))
        of_vm.add(run)
        context.tasks.start_soon(self._carry, run, request, language)
        return run

    def in_flight(self, vm_id: int) -> int:
        """How many run in this VM now."""
        return sum(not run.done.is_set for run in self._runs.get(vm_id, ()))

    def total_in_flight(self) -> int:
        """How many run in all VMs."""
        return sum(map(self.in_flight, self._runs))

    def ahead(self) -> Mapping[int, Execution]:
        """Executions whose end is known and not in their rows yet: to be asked for before rows are read."""
        return dict(self._settling)

    def newest(self, row: Execution, ahead: Mapping[int, Execution]) -> Execution:
        """The execution as its caller knows it: an answer may be a moment ahead of its row.

        ahead: what was so before the row was read.  Since then the end may have been written, and so be
        neither in the row as it was read nor here.
        """
        if row.state is not ExecutionState.RUNNING:
            return row
        return self._settling.get(row.id) or ahead.get(row.id, row)

    def spool_of(self, execution: Execution) -> SpooledOutput | None:
        """Where the output of one that runs goes; None for one that has ended or is not this server's."""
        if execution.outcome is not None:
            return None
        run = self.find(execution.vm_id, execution.id)
        return None if run is None else run.spool

    def all_of(self, vm_id: int) -> list[Run]:
        """Those in this VM, also the ones that have no row yet."""
        return list(self._runs.get(vm_id, ()))

    def live(self, vm_id: int) -> list[Run]:
        """Those running in this VM, oldest first, as far as they have a row."""
        announced = [run for run in self._runs.get(vm_id, ()) if run.execution is not None]
        return sorted(announced, key=lambda run: run.execution.id if run.execution else 0)

    def find(self, vm_id: int, execution_id: int) -> Run | None:
        """The one that runs in this VM by this id, as far as this server follows it."""
        for run in self._runs.get(vm_id, ()):
            if run.execution is not None and run.execution.id == execution_id:
                return run
        return None

    def holds(self, execution_id: int) -> bool:
        """Whether this server follows the execution."""
        return any(
            run.execution is not None and run.execution.id == execution_id
            for runs in self._runs.values()
            for run in runs
        )

    def forsaken(self) -> list[Run]:
        """Those that nobody has read for longer than they were to go on so."""
        now = perf_counter()
        return [run for runs in self._runs.values() for run in runs if run.is_forsaken(now)]

    # -- what the lifecycle verbs ask

    def ending(self, vm_id: int, verb: str) -> None:
        """The VM's processes are about to be ended by a verb: what runs is recorded as ended by it."""
        for run in self._runs.get(vm_id, ()):
            run.ended_by = run.ended_by or verb

    async def settled(self, vm_id: int) -> None:
        """Until everything that runs in this VM now is recorded."""
        for run in list(self._runs.get(vm_id, ())):
            await run.recorded.wait()

    def forget_machine(self, key: MachineKey) -> None:
        """The machine stopped: its counters begin anew."""
        self._oom_kills.pop(key, None)

    # -- what the reconciler asks

    async def note_oom_kills(self, key: MachineKey) -> None:
        """Learn how many kills for memory a machine has had, before its executions are judged by it."""
        usage = await self._context.backend.usage(key)
        if usage.oom_kills:
            self._oom_kills[key] = usage.oom_kills

    def adopt(self, vm: VM, execution: Execution) -> None:
        """Follow an execution that an earlier server started, to its end."""
        run = Run(vm, self._context.settings.max_output, self._oom_kills.get(key_of(vm), 0))
        run.execution, run.unread_since = execution, perf_counter()
        run.hide(self._context.secrets.mask(vm))
        self._runs.setdefault(vm.id, set()).add(run)
        self._context.tasks.start_soon(self._resume, run, execution)

    async def lose(self, vm: VM, execution: Execution, reason: str) -> None:
        """Settle one an earlier server left that runs no more, with what of its output is on disk."""
        context = self._context
        run = Run(vm, context.settings.max_output)
        run.execution, run.spool = execution, context.outputs.spool(vm, execution.id)
        kept = await run.recover(context.settings.max_output)
        context.outputs.recovered(vm, run.spool)
        outcome = None
        if any(part.offset for part in kept.values()):
            outcome = await run.keep(run.remains((context.clock() - execution.executed_at).total_seconds()))
        run.execution = await context.store.executions.lose(execution, reason, outcome)
        context.journal.execution(vm.user_id, run.execution)
        await self._tidy(run)

    # -- inside

    async def _carry(self, run: Run, request: ExecutionRequest, language: str) -> None:
        context, vm = self._context, run.vm
        text = request.code if request.code is not None else request.command or ""
        now = context.clock()
        tracer = context.telemetry.tracer
        log_context.for_vm(vm.id)
        try:
            with tracer.span("store.begin"):
                execution = await context.store.executions.begin(
                    vm.id,
                    text,
                    language,
                    request.timeout,
                    now,
                    background=request.background,
                    terminal=request.terminal is not None,
                    linger=request.linger,
                )
            run.execution = execution
            context.journal.execution(vm.user_id, execution)
            log_context.for_execution(execution.id)
            context.registry.touch(vm.id, now)
            current = context.registry.get(vm.id)
            if run.ended_by or current is None or current.state is not VMState.RUNNING:
                raise VMNotRunning(vm.id, current.state.value if current else "deleted")
            if request.packages:
                await self._packages.reachable(vm)
            client = context.connections.get(run.key)
            order = client.start(execution.id, process_spec(vm, request, execution.id))
            with tracer.span("agent.start"):
                process = await self._taken(execution, order)
            run.on_taken(process)
            self.dispatched(vm, language)
            run.spool = context.outputs.spool(vm, execution.id)
            with tracer.span("program"):
                await self._follow(run, execution, process, run.spool)
        except VMPoolError as error:
            await self._fail(run, _about_request(error, vm, request, context.settings.max_in_flight))
        except Exception as error:  # a defect of ours must not end the executions of everybody else
            logger.exception("execution in VM %s failed", vm.id)
            await self._fail(run, error)
        finally:
            self._leave(run)
            self._count(run, language)

    async def _resume(self, run: Run, execution: Execution) -> None:
        context = self._context
        log_context.for_vm(run.vm.id)
        log_context.for_execution(execution.id)
        try:
            run.spool = context.outputs.spool(run.vm, execution.id)
            kept = await run.recover(context.settings.max_output)
            context.outputs.recovered(run.vm, run.spool)
            client = context.connections.get(run.key)
            order = client.attach(
                execution.id, stdout_offset=kept["stdout"].offset, stderr_offset=kept["stderr"].offset
            )
            process = await self._taken(execution, order)
            run.on_taken(process)
            await self._follow(run, execution, process, run.spool)
        except VMPoolError as error:
            await self._fail(run, error)
        except Exception as error:  # as in _carry
            logger.exception("taking over execution %s failed", execution.id)
            await self._fail(run, error)
        finally:
            self._leave(run)
            self._count(run, execution.language)

    def _count(self, run: Run, language: str) -> None:
        metrics = self._context.telemetry.metrics
        metrics.executions.add(language, run.verdict())
        if run.began is not None:
            metrics.execution_duration.observe(perf_counter() - run.began, language)

    def _leave(self, run: Run) -> None:
        of_vm = self._runs.get(run.vm.id)
        if of_vm is not None:
            of_vm.discard(run)
            if not of_vm:
                del self._runs[run.vm.id]
        if run.spool is not None:
            run.spool.close()
        if run.execution is None and run.failure is None:
            run.failure = AgentUnreachable("the server is shutting down", dispatch="never_dispatched")
        elif run.failure is None and run.execution is not None and run.execution.outcome is None:
            run.failure = AgentUnreachable(
                "the server is shutting down; the program goes on and its result will be in the history",
                dispatch="outcome_unknown",
                execution_id=run.execution.id,
            )
        run.over()

    async def _taken(self, execution: Execution, order: Awaitable[Process]) -> Process:
        """The process, once the agent has taken the order; a guest in its place might never answer."""
        settings = self._context.settings
        with anyio.move_on_after(min(execution.timeout, settings.max_timeout) + settings.backstop):
            return await order
        raise AgentUnreachable("the agent did not answer in time", dispatch="outcome_unknown")

    async def _follow(self, run: Run, execution: Execution, process: Process, spool: SpooledOutput) -> None:
        """Take everything the program writes until it ends, then record it and let the agent forget it.

        The agent enforces the timeout.  What bounds one that does not begins anew when an execution is taken
        over: how long it ran before only a clock that may have been set could tell.
        """
        allowed = execution.timeout + self._context.settings.backstop
        events = process.events()
        exit: Exit | None = None
        with anyio.move_on_after(allowed):
            exit = await self._consume(run, events, spool)
        if exit is None:  # the agent enforces the timeout; this is for one that does not
            with anyio.move_on_after(KILL_WAIT):
                await process.signal(signal.SIGKILL, tree=True)
                exit = await self._consume(run, events, spool)
        if exit is None:
            raise AgentUnreachable("the agent did not end it in time", dispatch="outcome_unknown")
        await self._record(run, execution, exit)
        await process.release()
        await self._tidy(run)

    async def _consume(self, run: Run, events: AsyncIterator[Output | Exit], spool: SpooledOutput) -> Exit:
        """Asking for the next event lets the agent forget the one before, so that is on disk by then."""
        context = self._context
        async for event in events:
            if isinstance(event, Exit):
                if run.masked is not None:
                    self._take_rest(run, spool)
                return event
            if run.masked is not None:
                shown = run.shown(event)
                if shown is None:
                    continue
                event = shown
            run.take(event, context.feed, context.clock() if context.feed.followed(run.vm.id) else None)
            if spool.add(event.stream, event.data):
                await spool.flush()
        raise AgentUnreachable("the agent's events ended early", dispatch="outcome_unknown")

    def _take_rest(self, run: Run, spool: SpooledOutput | None) -> None:
        """What was held back of its output, nothing more coming."""
        context = self._context
        for output in run.rest():
            run.take(output, context.feed, context.clock() if context.feed.followed(run.vm.id) else None)
            if spool is not None:
                spool.add(output.stream, output.data)

    async def _record(self, run: Run, execution: Execution, exit: Exit) -> None:
        """Write the row and answer the caller; with a database that fails, answer and try until it works.

        Until the row is written the agent keeps the output and the end (`release` comes after), so a
        server that dies in between costs the history nothing.
        """
        outcome = run.outcome(exit, oom_killed=await self._oom_killed(run, exit))
        if outcome.output_file is not None or outcome.error_file is not None:
            outcome = await run.keep(outcome)
        state, failure = run.judged(exit)
        run.execution = execution.settled(state, outcome, failure)
        self._settling[execution.id] = run.execution
        executions = self._context.store.executions
        try:
            while True:
                try:
                    with self._context.telemetry.tracer.span("store.record"):
                        if failure and state is ExecutionState.LOST:
                            await executions.lose(execution, failure, outcome)
                        else:
                            await executions.finish(execution, outcome, failure)
                    self._context.journal.execution(run.vm.user_id, run.execution)
                    return
                except VMPoolError:
                    run.answered()
                    logger.exception("execution %s is not recorded yet", execution.id)
                    await anyio.sleep(RECORD_AGAIN)
        finally:
            del self._settling[execution.id]

    async def _tidy(self, run: Run) -> None:
        """The row says how it ended: of its spool only those streams stay that the row names."""
        if run.spool is not None:
            await self._context.outputs.settled(run.vm, run.spool, run.in_files())

    async def _oom_killed(self, run: Run, exit: Exit) -> bool:
        """A kill alone does not say for what; the machine's counter having risen meanwhile does."""
        if exit.exit_code != KILLED or exit.timed_out or exit.cancelled:
            return False
        try:
            usage = await self._context.backend.usage(run.key)
        except InfrastructureFailure:
            return False
        if usage.oom_kills is None:
            return False
        self._oom_kills[run.key] = usage.oom_kills
        return usage.oom_kills > run.oom_kills_before

    async def _fail(self, run: Run, error: Exception) -> None:
        """Record what is known of one that has no end, and what its caller is to be told."""
        context, execution = self._context, run.execution
        run.failure = error
        if execution is None or context.closing:
            return
        dispatched = isinstance(error, InfrastructureFailure) and error.dispatch == "outcome_unknown"
        outcome = None
        if dispatched:
            self._take_rest(run, run.spool)
            remains = run.remains(run.seconds(context.clock()))
            outcome = await run.keep(remains)
        reason = run.ended_because if run.ended_by and dispatched else str(error)
        try:
            run.execution = await context.store.executions.lose(execution, reason, outcome)
        except VMPoolError:
            logger.exception("execution %s could not be recorded", execution.id)
            return
        context.journal.execution(run.vm.user_id, run.execution)
        await self._tidy(run)
        if run.ended_by and dispatched:
            run.failure = None  # ended on somebody's word: a result
        elif isinstance(error, AgentUnreachable):
            error.context.setdefault("execution_id", execution.id)
            context.suspect()


def _about_request(error: VMPoolError, vm: VM, request: ExecutionRequest, max_in_flight: int) -> VMPoolError:
    """What a refusal of the agent's means for the caller: some are about what was asked."""
    if not isinstance(error, AgentRefused):
        return error
    if error.reason == Reason.TOO_MANY_EXECUTIONS:
        return TooManyExecutions(vm.id, max_in_flight)
    if request.cwd is not None and error.reason in (Reason.NOT_FOUND, Reason.PERMISSION, Reason.NOT_A_FILE):
        return InvalidRequest("cwd", f"'{request.cwd}' cannot be used: {error.message}")
    return error
