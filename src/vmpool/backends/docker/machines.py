"""What the engine's answers about containers mean to us: pure functions of its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmpool.backends.base import Machine, MachineKey, MachineState, Usage
from vmpool.backends.docker.engine import Engine
from vmpool.backends.docker.local import Init
from vmpool.backends.docker.spec import key_of_name

_STATES = {
    "created": MachineState.CREATING,
    "running": MachineState.RUNNING,
    "paused": MachineState.PAUSED,
    "restarting": MachineState.RUNNING,
}


def state_of(word: str) -> MachineState:
    """The engine's or Podman's word; whatever is over is STOPPED."""
    return _STATES.get(word.lower(), MachineState.STOPPED)


def machine_from_inspection(key: MachineKey, facts: Mapping[str, Any], engine: Engine) -> Machine:
    """From the engine's full answer about one container."""
    engine = engine.running(labels_of(facts))
    return Machine(key, state_of(facts["State"]["Status"]), facts["Id"], engine.isolation, engine.warnings())


def labels_of(facts: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels in the engine's full answer about one container."""
    labels: Mapping[str, str] | None = (facts.get("Config") or {}).get("Labels")
    return labels or {}


def machine_from_listing(entry: Mapping[str, Any], pool_id: str, engine: Engine) -> Machine | None:
    """From one line of the engine's list; None for a container that only bears our label.

    The name says whose it is: a label cannot change when a spare is claimed.
    """
    for name in entry.get("Names") or ():
        key = key_of_name(pool_id, name.removeprefix("/"))
        if key is not None:
            engine = engine.running(entry.get("Labels"))
            return Machine(key, state_of(entry["State"]), entry["Id"], engine.isolation, engine.warnings())
    return None


def init_of(facts: Mapping[str, Any]) -> Init | None:
    """The container's first process, None if it does not run."""
    state = facts["State"]
    if state_of(state["Status"]) not in (MachineState.RUNNING, MachineState.PAUSED) or not state.get("Pid"):
        return None
    return Init(int(state["Pid"]), facts["Id"])


def layer_size(facts: Mapping[str, Any]) -> int | None:
    """Bytes of the container's own layer; None where the engine did not say, or -1: it could not count."""
    size = facts.get("SizeRw")
    return size if isinstance(size, int) and size >= 0 else None


def usage_from_stats(stats: Mapping[str, Any]) -> Usage:
    """From the engine's own figures, for a container whose cgroup cannot be read here."""
    memory, cpu = stats.get("memory_stats") or {}, (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    nanoseconds = cpu.get("total_usage")
    return Usage(
        cpu_seconds=None if nanoseconds is None else nanoseconds / 1e9,
        memory_bytes=memory.get("usage"),
        memory_peak_bytes=memory.get("max_usage"),
        processes=(stats.get("pids_stats") or {}).get("current"),
    )
