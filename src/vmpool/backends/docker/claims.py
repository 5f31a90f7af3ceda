"""What this process knows of containers beyond what the engine says: where they run, and whose they became.

A claimed container keeps the name it was made under until the engine has been told everything else; that
renaming is the last step, so the name says whether it has been.  Until then it is known here by its id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.docker.local import Init
from vmpool.backends.docker.machines import init_of
from vmpool.backends.docker.spec import MB, JSONDict, pids_limit
from vmpool.backends.docker.storage import Storage, storage_of
from vmpool.domain import Limits


@dataclass(frozen=True, slots=True)
class Standing:
    """A running container, as it was when the engine was last asked.

    hostname_file: what is mounted at its /etc/hostname.  made: the specification it was made to.
    storage: what holds its disk limit.
    """

    init: Init
    hostname_file: Path
    made: MachineSpec
    storage: Storage


def standing_of(init: Init, facts: Mapping[str, Any], made: MachineSpec) -> Standing:
    """From the engine's full answer."""
    hostname_file = Path(facts.get("HostnamePath") or "/missing")
    return Standing(init, hostname_file, made, storage_of(facts["Config"].get("Labels")))


@dataclass(frozen=True, slots=True)
class Claim:
    """A container that bears its first name still.  spec: what it is now."""

    container_id: str
    spec: MachineSpec


class Claims:
    """Running containers by key, and claims the engine has not been told of."""

    def __init__(self) -> None:
        self.standing: dict[MachineKey, Standing] = {}
        self._open: dict[MachineKey, Claim] = {}
        self._keys: dict[str, MachineKey] = {}

    def stands(self, key: MachineKey, facts: Mapping[str, Any], made: MachineSpec) -> None:
        """It runs: remember where."""
        init = init_of(facts)
        if init is not None:
            self.standing[key] = standing_of(init, facts, made)

    def claim(self, key: MachineKey, container_id: str, spec: MachineSpec) -> None:
        """From now on the container is this key's, whatever its name says."""
        self._open[key] = Claim(container_id, spec)
        self._keys[container_id] = key

    def settled(self, key: MachineKey) -> None:
        """Its name says it now, or it is gone."""
        claim = self._open.pop(key, None)
        if claim is not None:
            del self._keys[claim.container_id]

    def of(self, key: MachineKey) -> Claim | None:
        """The key's claim, while it is open."""
        return self._open.get(key)

    def owner(self, container_id: str) -> MachineKey | None:
        """Whose the container has become, while its claim is open."""
        return self._keys.get(container_id)


def can_claim(made: MachineSpec, asked: MachineSpec) -> bool:
    """Whether a container made to the first can become the second while it runs.

    The disk has the size it was made with; network and files are what they are.  The engine's labels too: the
    caller's own are in the VM's row alone then.
    """
    return (
        (made.template, made.network, made.limits.disk) == (asked.template, asked.network, asked.limits.disk)
        and made.isolation == asked.isolation
        and asked.snapshot is None
    )


def update_body(facts: Mapping[str, Any], limits: Limits, isolation: str) -> JSONDict:
    """The body of the engine's "update a container" that records these limits; {} if they are recorded."""
    wanted: JSONDict = {
        "NanoCpus": round(limits.cpu * 1_000_000_000),
        "Memory": limits.memory * MB,
        "MemorySwap": limits.memory * MB,
        "PidsLimit": pids_limit(limits.processes, isolation),
    }
    recorded = facts["HostConfig"]
    return {} if all(recorded.get(name) == value for name, value in wanted.items()) else wanted
