"""A VM to be abused, a neighbour that must not notice, and a host that is looked over after each program."""

from __future__ import annotations

import secrets
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio import to_thread

from tests.captured import Captured, run
from tests.conformance.abuse.host import Bait, HostState, laid_bait, spinning, still_able, strangers
from tests.conformance.abuse.prelude import PRELUDE
from tests.conformance.abuse.table import Abuse
from tests.conformance.backends import World
from tests.conformance.box import ENV, HOME, Box, limited, next_id, open_box, shell_spec
from vmpool.agent import Exit, ProcessSpec, open_client
from vmpool.backends.base import MachineKey, MachineState
from vmpool.backends.bubblewrap.host import Grade
from vmpool.errors import AgentUnreachable

_SAMPLES, _TRIES = 3, 40
_PAUSE = 0.25
_MOST_OUTPUT = 1 << 20
_SCRIPT = f"{HOME}/.vmpool-{{}}-main.py"


@dataclass(slots=True)
class Arena:
    """victim: shared by every program that needs no VM of its own.  kind: see `HeldBy`."""

    world: World
    kind: str
    bait: Bait
    neighbour: Box
    boxes: AsyncExitStack
    victim: Box | None = None
    made: list[Box] = field(default_factory=list)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    @asynccontextmanager
    async def victim_of(self, abuse: Abuse) -> AsyncIterator[Box]:
        """The shared VM, or one for this program alone."""
        if abuse.needs_own:
            spec = limited(self.world.spec(), **abuse.limits)
            async with open_box(self.world, MachineKey(next_id() + 100), spec) as box:
                self.made.append(box)
                yield box
                self.made.remove(box)
                await box.backend.destroy(box.key)
            return
        yield await self.shared()

    async def shared(self) -> Box:
        """The VM of every program that needs none of its own."""
        if self.victim is None:
            self.victim = await self.boxes.enter_async_context(open_box(self.world, MachineKey(2)))
            self.made.append(self.victim)
        return self.victim

    def marks(self) -> tuple[str, ...]:
        """What names this pool's things on the host."""
        own = [self.neighbour.machine.container_id, *(box.machine.container_id for box in self.made)]
        directory = () if self.world.directory is None else (str(self.world.directory),)
        return (self.world.pool_id, *directory, *(name for name in own if len(name) > 8))

    async def usual(self) -> float:
        """Seconds the neighbour takes for nothing, at worst of the last few times it was well."""
        while len(self.recent) < _SAMPLES:
            self.recent.append(await self._answer())
        return max(self.recent)

    async def usual_beside(self, abuse: Abuse) -> float:
        """The same while `abuse` holds what it takes: with no cgroup, cores are shared as on any host."""
        if not (self.kind == "user" and abuse.spins):
            return await self.usual()
        with spinning():
            return max([await self._answer() for _ in range(_SAMPLES)])

    async def _answer(self) -> float:
        begun = time.perf_counter()
        assert await self.neighbour.output("echo alive") == "alive"
        return time.perf_counter() - begun

    async def neighbour_is_well(self, usual: float) -> float:
        """It answers within twice its usual time; tried for a while, since the host has other work.

        Returns: seconds it took.
        """
        taken = []
        for _ in range(_TRIES):
            taken.append(await self._answer())
            if taken[-1] <= 2 * usual:
                return taken[-1]
            await anyio.sleep(_PAUSE)
        raise AssertionError(f"a neighbour takes {statistics.median(taken):.3f} s, usually {usual:.3f} s")

    async def host_now(self) -> HostState:
        return await to_thread.run_sync(HostState.now, self.marks())

    async def host_is_able(self) -> None:
        await to_thread.run_sync(still_able, self.bait.path.parent)


@asynccontextmanager
async def open_arena(world: World) -> AsyncIterator[Arena]:
    """Bait and neighbour stand; the first program makes the VM that is shared."""
    async with AsyncExitStack() as boxes:
        bait = boxes.enter_context(laid_bait())
        neighbour = await boxes.enter_async_context(open_box(world))
        yield Arena(world, kind_of(neighbour), bait, neighbour, boxes)


def kind_of(box: Box) -> str:
    """Which of `HeldBy`'s kinds of backend this is."""
    if box.info.isolation == "gvisor":
        return "gvisor"
    if box.info.name == "docker":
        return "docker"
    return "root" if box.info.grade == Grade.ROOT else "user"


async def carry_out(arena: Arena, abuse: Abuse) -> None:
    """Run it and look at everything after it; AssertionError says what is hurt."""
    token = secrets.token_hex(16)
    async with arena.victim_of(abuse) as victim:
        before, usual = await arena.host_now(), await arena.usual()
        captured = await _run(arena, victim, abuse, token, await arena.usual_beside(abuse))
        said = captured.stdout.decode(errors="replace").split("\n")
        if captured.exit.exit_code != 0 or "held" not in said:
            assert abuse.may_die, (captured.stdout[-2000:], captured.stderr[-2000:], captured.exit)
        assert arena.bait.secret.encode() not in captured.stdout + captured.stderr
        assert arena.bait.guests == []
        assert await to_thread.run_sync(strangers, token) == []
        await _is_well(arena, victim, abuse)
        await arena.host_is_able()
        arena.recent.append(await arena.neighbour_is_well(usual))
        changed = before.differences(await arena.host_now())
        assert changed == []


async def _run(arena: Arena, box: Box, abuse: Abuse, token: str, usual: float) -> Captured:
    """Until it ends, or its VM does."""
    captured = Captured(Exit(0, 9, False, False, False, 0, 0, 0, 0), b"", b"")
    async with anyio.create_task_group() as tasks:
        if arena.kind in abuse.may_stop:
            tasks.start_soon(_until_stopped, box, tasks.cancel_scope)
        try:
            captured = await _watched(arena, box, abuse, token, usual)
        except AgentUnreachable:
            if arena.kind not in abuse.may_stop:
                raise
        tasks.cancel_scope.cancel()
    return captured


async def _until_stopped(box: Box, running: anyio.CancelScope) -> None:
    """A client looks for its agent for long; the engine knows at once that there is none any more."""
    while not await _has_stopped(box):  # noqa: ASYNC110 - the engine is asked, nobody tells
        await anyio.sleep(1)
    running.cancel()


async def _has_stopped(box: Box) -> bool:
    machine = await box.backend.inspect(box.key)
    assert machine is not None
    return machine.state is MachineState.STOPPED


async def _watched(arena: Arena, box: Box, abuse: Abuse, token: str, usual: float) -> Captured:
    number = next_id()
    path = _SCRIPT.format(number)
    spec = ProcessSpec(
        argv=("python3", path),
        source=(path, (PRELUDE + abuse.code).encode()),
        env={**ENV, **arena.bait.environment(), "ABUSE": token},
        stdin="open" if abuse.holds else None,
        timeout=abuse.seconds,
    )
    out, error, watched = bytearray(), bytearray(), not abuse.holds
    process = await box.client.start(number, spec)
    async for event in process.events():
        if isinstance(event, Exit):
            await process.release()
            assert watched or abuse.may_die, ("it never held anything", bytes(out), bytes(error), event)
            return Captured(event, bytes(out), bytes(error))
        kept = out if event.stream == "stdout" else error
        kept += event.data[: _MOST_OUTPUT - len(kept)]
        if not watched and b"holding\n" in out:
            watched = True
            await arena.host_is_able()
            await arena.neighbour_is_well(usual)
            assert await to_thread.run_sync(strangers, token) == []
            await process.write_stdin(b"\n")
    raise AssertionError("events() ended without an Exit")


async def _is_well(arena: Arena, box: Box, abuse: Abuse) -> None:
    """It answers; or, where that is allowed, it shows as stopped and can be started."""
    if arena.kind in abuse.may_stop and await _has_stopped(box):
        await box.backend.start(box.key)
        async with open_client(lambda: box.backend.dial(box.key)) as client:
            assert (await run(client, next_id(), shell_spec("echo alive"))).stdout == b"alive\n"
        return
    await box.client.ping()
    if arena.kind == "gvisor" and not abuse.needs_own:
        return  # the next program says the rest: to start one takes a second there
    for _ in range(_TRIES):
        captured = await (box.python("print('alive')") if abuse.needs_own else box.sh("echo alive"))
        if captured.stdout == b"alive\n":
            return
        await anyio.sleep(_PAUSE)
    raise AssertionError("the VM takes no program any more")
