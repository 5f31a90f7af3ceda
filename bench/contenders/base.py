"""What a contender can do, as types: a scenario asks for those that have one and skips the others."""

from __future__ import annotations

from abc import ABC, abstractmethod

from bench.figures import Figures
from bench.program import PYTHON, Program


class Contender:
    """One way of running a program.

    name: how the results call it.
    version: of what it is made of.
    mode: how it is driven, where there are several ways.
    every: it takes part in one round of so many, because it is slow.
    settle: seconds of quiet after a call, so that what is left to do is not the next one's.
    largest_burst: the most sandboxes it is asked to make at once.
    warm: a create takes what was made beforehand.
    sustained: its throughput is measured for the whole minute.
    divisor: a bar divides by its throughput, which is measured for a third of one.
    """

    name: str
    version: str = ""
    mode: str = ""
    every: int = 1
    largest_burst: int = 100
    settle: float = 0.0
    warm: bool = False
    sustained: bool = False
    divisor: bool = False
    program: Program = PYTHON

    def release(self) -> None:
        """Remove the sandboxes; `prepare` makes new ones."""
        self.close()

    def close(self) -> None:
        """Remove all that was made; a second time does nothing."""


class Executes(Contender, ABC):
    """Runs its program in a sandbox that stands ready."""

    @abstractmethod
    def prepare(self, sandboxes: int) -> None:
        """Make sandboxes 0 to `sandboxes` - 1, where there are none yet, and use each once."""

    @abstractmethod
    def execute(self, sandbox: int) -> float:
        """Run the program in ready sandbox number `sandbox`: seconds it took.  Raises what goes wrong."""


class Creates(Contender, ABC):
    """Makes a sandbox and runs its program in it."""

    @abstractmethod
    def create(self) -> tuple[float, str]:
        """From nothing to the first output: seconds, and the name of the sandbox."""

    @abstractmethod
    def remove(self, sandbox: str) -> float:
        """Stop and delete it in the contender's own way: seconds."""

    def discard(self, sandbox: str) -> None:
        """Remove it in the fastest way there is; nobody looks at the clock."""
        self.remove(sandbox)

    @abstractmethod
    def burst(self, count: int) -> Figures:
        """`create` `count` times at once: `wall` and each one's seconds; what was made is removed."""


class Loads(Executes, ABC):
    """Can be kept busy."""

    @abstractmethod
    def load(self, in_flight: int, seconds: float) -> Figures:
        """Execute, `in_flight` at once over the prepared sandboxes, for `seconds`."""


class Batches(Executes, ABC):
    """Has one call for many sandboxes."""

    @abstractmethod
    def batch(self, sandboxes: int) -> Figures:
        """One call that executes in sandboxes 0 to `sandboxes` - 1: its seconds, and failures among them."""


class Prints(Executes, ABC):
    """Takes large output."""

    @abstractmethod
    def output(self, size: int) -> Figures:
        """Run a program that prints `size` bytes: seconds, and `bytes` that came back."""
