"""What is to be done when a row and its machine do not agree.  Pure."""

from __future__ import annotations

from enum import Enum, auto

from vmpool.backends.base import Machine, MachineState
from vmpool.domain import VMState


class Repair(Enum):
    """One way to make a row and its machine agree."""

    FINISH_CREATE = auto()
    FINISH_START = auto()
    FINISH_STOP = auto()
    FINISH_DELETE = auto()
    UNDO_RESTORE = auto()
    MARK_STOPPED = auto()  # it runs no more, its files are there
    MARK_GONE = auto()  # nothing of it is there
    STOP_AGAIN = auto()  # it runs although it was stopped
    PAUSE_AGAIN = auto()  # it goes on although it was paused
    LET_GO = auto()  # it is held, by a snapshot whose server ended, although it runs


_UNFINISHED = {
    VMState.CREATING: Repair.FINISH_CREATE,
    VMState.STARTING: Repair.FINISH_START,
    VMState.STOPPING: Repair.FINISH_STOP,
    VMState.DELETING: Repair.FINISH_DELETE,
    VMState.RESTORING: Repair.UNDO_RESTORE,
}


def repair(row: VMState, machine: Machine | None) -> Repair | None:
    """What makes a row in this state and its machine agree, nobody working on it; None if they do."""
    if row in _UNFINISHED:
        return _UNFINISHED[row]
    state = None if machine is None else machine.state
    match row, state:
        case ((VMState.RUNNING | VMState.PAUSED | VMState.STOPPED), None):
            return Repair.MARK_GONE
        case ((VMState.RUNNING | VMState.PAUSED), MachineState.STOPPED):
            return Repair.MARK_STOPPED
        case VMState.STOPPED, (MachineState.RUNNING | MachineState.PAUSED):
            return Repair.STOP_AGAIN
        case VMState.PAUSED, MachineState.RUNNING:
            return Repair.PAUSE_AGAIN
        case VMState.RUNNING, MachineState.PAUSED:
            return Repair.LET_GO
    return None  # agreed, being made by the backend itself, or in ERROR, which the owner resolves
