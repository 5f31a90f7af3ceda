"""One run: who takes part, what was measured, and what went wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from bench.contenders.base import Contender, Executes
from bench.figures import Figures, summary
from bench.plan import Plan

C = TypeVar("C")
T = TypeVar("T")
TEXTS_KEPT = 3
"""Error texts of one contender in one scenario."""


class Run:
    """Collects; a contender that fails is counted and never ends the run."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.say = say
        self.contenders: list[Contender] = []
        self.contenders_seen: list[Contender] = []
        self.results: dict[str, dict[str, Figures]] = {}
        self.troubles: dict[str, dict[str, list[str]]] = {}
        self.absent: dict[str, str] = {}

    def having(self, kind: type[C], language: str = "python") -> list[C]:
        """The contenders with this power, in their order."""
        return [
            contender
            for contender in self.contenders
            if isinstance(contender, kind) and contender.program.language == language
        ]

    def record(self, scenario: str, name: str, figures: Figures) -> None:
        """Add a contender's figures, with a load's failures where they were there before."""
        earlier = self.results.setdefault(scenario, {}).get(name, {})
        figures["failures"] = figures.get("failures", 0) + earlier.get("failures", 0)
        self.results[scenario][name] = figures

    def attempt(self, scenario: str, name: str, call: Callable[[], T]) -> T | None:
        """What the call gives; None, with the failure counted, when it raises."""
        try:
            return call()
        except Exception as error:  # whatever a contender raises is its failure, not the run's
            texts = self.troubles.setdefault(scenario, {}).setdefault(name, [])
            if len(texts) < TEXTS_KEPT:
                texts.append(f"{type(error).__name__}: {error}"[:300])
            figures = self.results.setdefault(scenario, {}).setdefault(name, {"n": 0, "failures": 0})
            figures["failures"] += 1
            return None

    def prepared(self, scenario: str, contenders: Iterable[C], sandboxes: int | None = None) -> list[C]:
        """Those whose sandboxes could be made ready; the others have failed in this scenario."""
        good: list[C] = []
        for candidate in contenders:
            contender: object = candidate
            if not isinstance(contender, Executes):
                continue
            self.say(f"{scenario}: preparing {contender.name}")
            count = sandboxes or self.plan.sandboxes

            before = self._failures(scenario, contender.name)
            self.attempt(scenario, contender.name, partial(contender.prepare, count))
            if self._failures(scenario, contender.name) == before:
                good.append(candidate)
        return good

    def _failures(self, scenario: str, name: str) -> float:
        return self.results.get(scenario, {}).get(name, {}).get("failures", 0)

    def rounds(
        self,
        scenario: str,
        contenders: Sequence[Contender],
        rounds: int,
        once: Callable[[Contender], float],
        every: int | None = None,
        turn: int = 1,
    ) -> None:
        """Every contender's turn in every round, as a summary of seconds.

        every: a slow contender's turn comes in one round of so many; default: its own `every`.  turn: calls
        in a row, so that what the one before left in the caches and has still to do is one call's matter.
        """
        seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
        for number in range(rounds):
            self.say(f"{scenario}: round {number + 1} of {rounds}")
            for contender in contenders:
                if number % (min(every, contender.every) if every else contender.every):
                    continue
                for _ in range(turn):
                    elapsed = self.attempt(scenario, contender.name, partial(once, contender))
                    if elapsed is not None:
                        seconds[contender.name].append(elapsed)
                    time.sleep(contender.settle)
        for name, taken in seconds.items():
            self.record(scenario, name, summary(taken))

    def close(self, contenders: Iterable[object]) -> None:
        """Remove what stands ready: later scenarios make anew what they need."""
        for contender in contenders:
            if isinstance(contender, Contender):
                self.attempt("close", contender.name, contender.release)


def say(text: str) -> None:
    """Progress: one line that is written over on a terminal, else a line each time the scenario changes."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()
        return
    head = text.partition(": round")[0]
    if head != _last[0]:
        _last[0] = head
        print(f"{time.strftime('%H:%M:%S')} {head}", file=sys.stderr)


_last = [""]
