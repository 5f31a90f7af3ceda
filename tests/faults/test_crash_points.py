"""A real server on real VMs, killed by SIGKILL at every await point of the six verbs.

After each death the next server makes rows and host agree; no acknowledged result is lost, nothing is left
over, and a program that ran all the while is followed again and its whole output arrives.

The points are generated (`crash_points.py`): the awaits of every coroutine function a verb passes through,
and (`watch.py`) every change of the host its backend makes in a thread.  Each of them is a death; a run of
the tests takes every fourth on bubblewrap and every eighth on docker, and which ones rotates with the day of
the year.  VMPOOL_CRASH_STRIDE=1 takes all, VMPOOL_CRASH_OFFSET=n begins at the n-th.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import pytest

from tests import docker_engine
from tests.faults.lives import Lives, Zygote, lives, zygote
from tests.faults.off_the_way import off_the_way
from tests.faults.scenes import SCENES

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

LANES = 3
"""State directories in which servers die at the same time."""
TRIES = 4
"""Lives in which a point that was reached once is to be reached again."""
CHANCE = 0.05
"""How many points may be reached by chance only, as a share."""
STRIDE = {"bubblewrap": 4, "docker": 8}


@dataclass(frozen=True)
class Recording:
    """What servers reached that lived.  points: by scene, in order.  listed: the awaits of every function
    that was entered.  known: every await there is."""

    backend: str
    points: dict[str, list[str]]
    listed: frozenset[str]
    known: frozenset[str]


@pytest.fixture(scope="module", params=["bubblewrap", "docker"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    missing = "it takes root to look at the host" if os.geteuid() != 0 else None
    if missing is None and name == "docker":
        missing = docker_engine.why_missing()
    if missing is not None:
        if name in request.config.getoption("--require-backend"):
            pytest.fail(f"{name} is required and not available: {missing}", pytrace=False)
        pytest.skip(f"{name}: {missing}")
    return name


class Lanes:
    """A zygote for each lane."""

    def __init__(self, zygotes: list[Zygote]) -> None:
        self._free: SimpleQueue[Zygote] = SimpleQueue()
        for one in zygotes:
            self._free.put(one)

    @contextmanager
    def lives(self, state_dir: Path, backend: str) -> Iterator[Lives]:
        """The servers of a state directory, from the zygote of a lane that is free."""
        one = self._free.get()
        try:
            with lives(one, state_dir, backend) as servers:
                yield servers
        finally:
            self._free.put(one)


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    logs = tmp_path_factory.mktemp("zygotes")
    with ExitStack() as stack:
        yield Lanes([stack.enter_context(zygote(logs / f"{number}.log")) for number in range(LANES)])


@pytest.fixture(scope="module")
def recording(backend: str, lanes: Lanes, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Each scene played once to its end."""

    def record(name: str) -> tuple[list[str], list[str], list[str]]:
        with lanes.lives(tmp_path_factory.mktemp(f"{backend}-{name}") / "state", backend) as servers:
            told = servers.next(name, SCENES[name].settings)
        return told["reached"], told["listed"], told["known"]

    told = dict(zip(SCENES, in_lanes(record, SCENES), strict=True))
    return Recording(
        backend,
        points={name: reached for name, (reached, _, _) in told.items()},
        listed=frozenset(point for _, listed, _ in told.values() for point in listed),
        known=frozenset(point for _, _, known in told.values() for point in known),
    )


def in_lanes(act: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """All of them, some at the same time; what fails is raised once all have ended."""
    with ThreadPoolExecutor(LANES) as threads:
        futures = [threads.submit(act, thing) for thing in things]
    failures = [error for future in futures if (error := future.exception()) is not None]
    if failures:
        raise AssertionError("\n\n".join(str(failure) for failure in failures))
    return [future.result() for future in futures]


@pytest.mark.timeout(300)
def test_every_await_on_the_way_of_a_verb_is_reached(recording: Recording) -> None:
    """A new await in a function a verb passes through is a new point by itself; here it is seen to be one
    that dies.

    If this fails: have a scene reach it, or say in `off_the_way.py` why none can.
    """
    reached = {point for points in recording.points.values() for point in points}
    assert sorted(recording.listed - reached - off_the_way()) == []
    assert sorted(off_the_way() - recording.known) == [], "no such await any more"
    assert {point for point in reached if ": effect " not in point} <= recording.listed


@pytest.mark.timeout(1200)
def test_killed_at_every_point(recording: Recording, lanes: Lanes, tmp_path: Path) -> None:
    """`--log-cli-level=info` shows how many deaths it was.

    A point that one server reached and the next few did not is one of chance: whether a frame comes before a
    stream ends, say.  There may be a few.
    """
    started, numbers = time.monotonic(), count()
    died: list[str] = []
    by_chance: list[str] = []

    def die(part: tuple[str, list[str]]) -> None:
        scene, points = part
        with lanes.lives(tmp_path / f"{scene}-{next(numbers)}", recording.backend) as servers:
            for point in points:
                (died if die_at(servers, scene, point) else by_chance).append(f"{scene}: {point}")
        logger.info("%s: %s points, %.0f s", scene, len(points), time.monotonic() - started)

    in_lanes(die, divided(recording))
    logger.info("%s deaths in %.0f s; not again: %s", len(died), time.monotonic() - started, by_chance)
    assert len(died) > 0 and len(by_chance) <= len(died) * CHANCE, by_chance


def divided(recording: Recording) -> Iterator[tuple[str, list[str]]]:
    """Scenes with those of their points that are due, in two parts each so that the lanes end together."""
    stride = int(os.environ.get("VMPOOL_CRASH_STRIDE", STRIDE[recording.backend]))
    offset = int(os.environ.get("VMPOOL_CRASH_OFFSET", time.localtime().tm_yday)) % stride
    for scene, points in recording.points.items():
        due = points[offset::stride]
        yield from ((scene, due[0::2]), (scene, due[1::2]))


def die_at(servers: Lives, scene: str, point: str) -> bool:
    """A server that dies there, having checked what came of the one before; false if none came there."""
    return any("lived" not in servers.next(scene, SCENES[scene].settings, point) for _ in range(TRIES))
