"""The wall around a VM, by name, the weakest first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

IsolationName = Literal["namespaces", "container", "gvisor", "microvm"]
"""What can be asked for.

========== ===========================================================================================
namespaces the host's kernel, its namespaces and a seccomp filter, no daemon (the bubblewrap backend)
container  the host's kernel, as an OCI runtime sets it up (docker with runc or crun)
gvisor     a kernel of its own in user space; few of the host's system calls are in reach (docker, runsc)
microvm    a kernel of its own on virtual hardware (docker with Kata)
========== ===========================================================================================
"""

STRENGTH: Final = ("none", "namespaces", "container", "gvisor", "microvm")
"""`none` is the fake backend's.  `container` is above `namespaces` by convention: both share the kernel."""


def at_least(least: str, offered: Iterable[str]) -> tuple[str, ...]:
    """Those of `offered` that are no weaker than `least`, the weakest first."""
    return tuple(sorted((name for name in offered if _rank(name) >= _rank(least)), key=_rank))


def _rank(name: str) -> int:
    return STRENGTH.index(name)
