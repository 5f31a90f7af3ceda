"""One execution on its way: what came of it so far, and what its caller will be told."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from time import perf_counter

import anyio

from vmpool.agent.base import Exit, Output, Process
from vmpool.backends.base import MachineKey
from vmpool.domain import LANGUAGES, VM, Execution, ExecutionState, Outcome
from vmpool.domain.secret import Mask, MaskedStream
from vmpool.errors import InfrastructureFailure
from vmpool.pool.context import key_of
from vmpool.pool.feed import Feed, LiveText, Stream
from vmpool.pool.output import Capture
from vmpool.pool.spool import STREAMS, Kept, SpooledOutput
from vmpool.pool.watch import Position, Watch, watching

KILLED = 137
"""Exit code of a program that was sent SIGKILL, as a shell reports it."""


class Latch:
    """Something that happens once and is rarely waited for: the event is made for those who do."""

    __slots__ = ("_event", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """It has happened."""
        self.is_set = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Until it has."""
        if not self.is_set:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()


class Run:
    """An execution in flight.

    ended_by: the verb that is ending it ("stopped", "deleted", "restored").  done: its caller can be
    answered.  began: when it was asked for (`perf_counter`); None if it was taken over.
    recorded: its row is settled too, or never will be by this server.  taken: an agent has it, or none ever
    will.  process: once an agent has taken it.
    unread_since: when its last reader left, or it was taken over (`perf_counter`); None: it had none yet.
    cancelled: somebody asked for its end.  writing: held by who writes its standard input.  watch: its last
    output, while somebody reads it.  masked: each stream, where secrets are to be hidden in it.
    """

    __slots__ = (
        "_live",
        "began",
        "cancelled",
        "done",
        "ended_by",
        "execution",
        "failure",
        "key",
        "masked",
        "oom_kills_before",
        "process",
        "recorded",
        "spool",
        "stderr",
        "stdout",
        "taken",
        "unread_since",
        "vm",
        "watch",
        "writing",
    )

    def __init__(self, vm: VM, limit: int, oom_kills_before: int = 0) -> None:
        self.vm = vm
        self.key: MachineKey = key_of(vm)
        self.stdout = Capture(limit)
        self.stderr = Capture(limit)
        self.oom_kills_before = oom_kills_before
        self.began: float | None = None
        self.unread_since: float | None = None
        self.ended_by: str | None = None
        self.cancelled = False
        self.execution: Execution | None = None
        self.failure: Exception | None = None
        self.spool: SpooledOutput | None = None
        self.process: Process | None = None
        self.writing: anyio.Lock | None = None
        self.watch: Watch | None = None
        self.masked: dict[Stream, MaskedStream] | None = None
        self.taken = Latch()
        self.done = Latch()
        self.recorded = Latch()
        self._live: dict[Stream, LiveText] = {}

    def on_taken(self, process: Process) -> None:
        """It runs."""
        self.process = process
        self.taken.set()

    def watched(self) -> AbstractContextManager[Watch]:
        """Its output from now on, for one more reader."""
        if self.watch is None:
            self.watch = Watch(Position(self.stdout.total, self.stderr.total))
            if self.done.is_set:
                self.watch.close()
        return watching(self.watch, self._unwatched)

    def _unwatched(self) -> None:
        self.watch = None
        self.unread_since = perf_counter()

    def is_forsaken(self, now: float) -> bool:
        """Nobody has read it for longer than it was to go on so.  now: by `perf_counter`."""
        execution = self.execution
        if execution is None or execution.linger is None or self.watch is not None or self.done.is_set:
            return False
        since = self.began if self.unread_since is None else self.unread_since
        return since is not None and now - since >= execution.linger

    def answered(self) -> None:
        """How it ended is known."""
        self.done.set()
        if self.watch is not None:
            self.watch.close()

    def over(self) -> None:
        """Nothing more will come of it here."""
        self.answered()
        self.recorded.set()
        self.taken.set()

    def hide(self, mask: Mask | None) -> None:
        """From now on what it writes is let out without these values."""
        if mask is not None:
            self.masked = {name: MaskedStream(mask) for name in STREAMS}

    def shown(self, output: Output) -> Output | None:
        """A piece as it may be seen, with what was held back before it; None where all of it is held back."""
        assert self.masked is not None
        data = self.masked[output.stream].feed(output.data)
        return Output(output.stream, self.capture(output.stream).total, data) if data else None

    def rest(self) -> list[Output]:
        """What was held back, nothing more coming."""
        ends = [] if self.masked is None else [(name, one.end()) for name, one in self.masked.items()]
        return [Output(name, self.capture(name).total, data) for name, data in ends if data]

    def capture(self, stream: Stream) -> Capture:
        """What is kept of a stream."""
        return self.stdout if stream == "stdout" else self.stderr

    def take(self, output: Output, feed: Feed, clock_at: datetime | None) -> None:
        """Keep a piece; with `clock_at`, hand it to those who follow the VM too."""
        self.capture(output.stream).add(output.data)
        if self.watch is not None:
            self.watch.add(output)
        if clock_at is not None and self.execution is not None:
            live = self._live.get(output.stream)
            if live is None:
                live = self._live[output.stream] = LiveText()
            text = live.feed(output.data)
            if text:
                feed.publish(self.vm.id, self.execution.id, output.stream, text, clock_at)

    def seconds(self, now: datetime) -> float:
        """How long it has run; what was taken over counts by the wall clock, `now`: nothing else is known."""
        if self.began is not None:
            return perf_counter() - self.began
        began = self.execution.executed_at if self.execution is not None else now
        return max(0.0, (now - began).total_seconds())

    def outcome(self, exit: Exit, *, oom_killed: bool) -> Outcome:
        """What the history is to say of a program that ended."""
        return self._outcome(
            exit.exit_code,
            exit.duration,
            timed_out=exit.timed_out,
            oom_killed=oom_killed,
            build_failed=exit.build_failed or (exit.exit_code != 0 and self._says_at_build()),
            cpu_time=exit.user_seconds + exit.system_seconds,
            max_memory=exit.max_rss,
        )

    def _says_at_build(self) -> bool:
        """Whether it ended as what runs and compiles in one does where it could not compile."""
        language = None if self.execution is None else LANGUAGES.get(self.execution.language)
        says = None if language is None else language.says_at_build
        return says is not None and self.stderr.held()[0].rstrip().endswith(says)

    @property
    def ended_because(self) -> str:
        """What is told of one that a verb has ended."""
        return f"ended because the VM was {self.ended_by}"

    def judged(self, exit: Exit) -> tuple[ExecutionState, str | None]:
        """The state its row is to have, and who ended it, where somebody has."""
        if exit.cancelled or exit.signal:
            if self.ended_by:
                return ExecutionState.LOST, self.ended_because
            if self.cancelled:
                return ExecutionState.FINISHED, "it was cancelled"
        return ExecutionState.FINISHED, None

    def remains(self, seconds: float) -> Outcome:
        """What the history is to say of one that was lost after `seconds`."""
        return self._outcome(KILLED, seconds)

    def _outcome(
        self,
        exit_code: int,
        seconds: float,
        *,
        timed_out: bool = False,
        oom_killed: bool = False,
        build_failed: bool = False,
        cpu_time: float = 0.0,
        max_memory: int = 0,
    ) -> Outcome:
        """The same with what was written; a stream that its text does not say is said to have a file."""
        output, whole = self.stdout.held()
        error, error_whole = self.stderr.held()
        return Outcome(
            output=output,
            error=error,
            exit_code=exit_code,
            execution_time=seconds,
            timed_out=timed_out,
            oom_killed=oom_killed,
            truncated=self.stdout.truncated or self.stderr.truncated,
            build_failed=build_failed,
            cpu_time=cpu_time,
            max_memory=max_memory,
            output_bytes=self.stdout.total,
            error_bytes=self.stderr.total,
            output_file=None if whole else 0,
            error_file=None if error_whole else 0,
        )

    def verdict(self) -> str:
        """How it ended, in a word, for metrics."""
        if self.failure is not None:
            return "lost" if isinstance(self.failure, InfrastructureFailure) else "refused"
        outcome = self.execution.outcome if self.execution is not None else None
        if self.execution is None or outcome is None or self.execution.state is ExecutionState.LOST:
            return "ended"  # by a verb: the VM was stopped, deleted or restored
        if self.cancelled:
            return "ended"
        if outcome.timed_out:
            return "timed_out"
        if outcome.oom_killed:
            return "oom_killed"
        return "succeeded" if outcome.exit_code == 0 else "failed"

    async def keep(self, outcome: Outcome) -> Outcome:
        """The same once what its texts do not say is on disk, with how much of it is."""
        files = {"stdout": outcome.output_file, "stderr": outcome.error_file}
        keep: list[Stream] = [name for name in STREAMS if files[name] is not None]
        if not keep or self.spool is None:
            return outcome
        kept = await self.spool.settle(keep)
        return replace(outcome, output_file=kept.get("stdout"), error_file=kept.get("stderr"))

    def in_files(self) -> list[Stream]:
        """The streams that its row says are in files."""
        outcome = None if self.execution is None else self.execution.outcome
        if outcome is None:
            return []
        files = {"stdout": outcome.output_file, "stderr": outcome.error_file}
        return [name for name in STREAMS if files[name]]

    async def recover(self, limit: int) -> dict[Stream, Kept]:
        """Take what an earlier server kept of it.  limit: bytes of each stream that are read."""
        assert self.spool is not None
        kept = await self.spool.recover(limit)
        for name, part in kept.items():
            capture = self.capture(name)
            capture.add(part.head)
            capture.skip(part.gap)
            capture.add(part.tail)
            capture.skip(part.missing)
        return kept

    def result(self) -> Execution:
        """The settled execution, or what its caller must be told instead."""
        if self.failure is not None:
            raise self.failure
        assert self.execution is not None
        return self.execution
