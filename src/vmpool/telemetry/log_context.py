"""The ids that log lines carry: of the request, the VM and the execution a task works for.

They are context variables: set where the work begins, seen by everything that is called from there, and by
the tasks it starts.  A task that outlives who started it says `outside` first.
"""

from __future__ import annotations

from contextvars import ContextVar

_request: ContextVar[str | None] = ContextVar("vmpool.request_id", default=None)
_user: ContextVar[int | None] = ContextVar("vmpool.user_id", default=None)
_vm: ContextVar[int | None] = ContextVar("vmpool.vm_id", default=None)
_execution: ContextVar[int | None] = ContextVar("vmpool.execution_id", default=None)

_FIELDS: tuple[tuple[str, ContextVar[str | None] | ContextVar[int | None]], ...] = (
    ("request_id", _request),
    ("user_id", _user),
    ("vm_id", _vm),
    ("execution_id", _execution),
)


def for_request(request_id: str) -> None:
    """What this task does from now on, it does for this request and for nothing it did before."""
    outside()
    _request.set(request_id)


def for_user(user_id: int) -> None:
    """Its request is this user's."""
    _user.set(user_id)


def for_vm(vm_id: int) -> None:
    """It is about this VM."""
    _vm.set(vm_id)


def for_execution(execution_id: int) -> None:
    """It is about this execution."""
    _execution.set(execution_id)


def outside() -> None:
    """This task goes on after whoever started it: it works for no request."""
    for _, variable in _FIELDS:
        variable.set(None)


def current() -> dict[str, str | int]:
    """The ids that are known here, by the names the log gives them."""
    found: dict[str, str | int] = {}
    for name, variable in _FIELDS:
        value = variable.get()
        if value is not None:
            found[name] = value
    return found
