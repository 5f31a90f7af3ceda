"""What a VM is to its owner: a pure function from a VM and a verb to a VM and an answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from types import MappingProxyType
from typing import Literal

State = Literal["running", "stopped"]
Name = Literal["create", "start", "stop", "restart", "delete", "snapshot", "restore", "drop", "write", "read"]


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing a user asks of one VM.  word: a snapshot's name, or what to write."""

    name: Name
    word: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """note: the one file in it, None where it is not there.  snapshots: what each kept of it."""

    state: State = "running"
    note: str | None = None
    snapshots: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))


Answer = str
"""The state it has now, what was read, or the name of the error."""


def apply(vm: Model | None, verb: Verb) -> tuple[Model | None, Answer]:
    """The VM afterwards and what its owner is told."""
    if verb.name == "create":
        return (Model(), "running") if vm is None else (vm, "NameTaken")
    if vm is None:
        return None, "VMNotFound"
    match verb.name:
        case "start" | "restart":
            return replace(vm, state="running"), "running"
        case "stop":
            return replace(vm, state="stopped"), "stopped"
        case "delete":
            return None, "deleted"
        case "snapshot" if verb.word in vm.snapshots:
            return vm, "Conflict"
        case "snapshot":
            return replace(vm, snapshots={**vm.snapshots, verb.word: vm.note}), "kept"
        case "restore" | "drop" if verb.word not in vm.snapshots:
            return vm, "SnapshotNotFound"
        case "restore":
            return replace(vm, state="running", note=vm.snapshots[verb.word]), "running"
        case "drop":
            left = {name: note for name, note in vm.snapshots.items() if name != verb.word}
            return replace(vm, snapshots=left), "dropped"
    if vm.state == "stopped":
        return vm, "VMNotRunning"
    if verb.name == "write":
        return replace(vm, note=verb.word), "written"
    return vm, repr(vm.note)


def visible(vm: Model | None) -> tuple[State, frozenset[str]] | None:
    """What is seen of it without running anything: its state and its snapshots' names."""
    return None if vm is None else (vm.state, frozenset(vm.snapshots))


def orders(vm: Model | None, verbs: Iterable[Verb]) -> list[tuple[Model | None, dict[int, Answer]]]:
    """What may come of verbs asked for at the same time: what some order of them, one by one, gives.

    The answers are by the verbs' places.
    """
    found = []
    for order in permutations(enumerate(verbs)):
        after, answers = vm, {}
        for place, verb in order:
            after, answers[place] = apply(after, verb)
        found.append((after, answers))
    return found
