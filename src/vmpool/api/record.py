"""Writing the audit log: what is recorded of a request, and when.

An act is recorded when its answer begins, before the first byte of it leaves: whoever holds an answer finds
its entry.  Running code is not recorded here, so the way of an execution does not get longer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import anyio
from starlette.requests import Request
from starlette.types import Scope

from vmpool.api.scopes import AUDITED, NEEDED
from vmpool.domain import Principal
from vmpool.domain.audit import Act
from vmpool.errors import StoreFailed, UserDisabled
from vmpool.store.audit import Audit

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds an answer waits for its entry; past them it goes out, and the log has the entry."""
LONGEST_TARGET = 200
REFUSED = frozenset({401, 403})
"""Statuses of requests that lacked a key or a right."""


def note(request: Request, *, target: str | None = None, **facts: object) -> None:
    """Say in a route what its entry is to hold beside the parameters of its path; never a secret.

    target: what was done something to, as in "vm_id=3".  facts: values JSON has.
    """
    if target is not None:
        request.state.target = target
    request.state.facts = facts


def act_of(scope: Scope, status: int) -> Act | None:
    """What is to be recorded of a request that is answered with `status`; None for nothing."""
    state = scope["state"]
    if "passed" in state:
        return None  # the answer is a program's in a VM, whatever its status
    operation = state.get("operation")
    if status not in REFUSED and (operation is None or NEEDED[operation] not in AUDITED):
        return None
    user_id, key_id = _who(state)
    parameters = scope.get("path_params") or {}
    named = ", ".join(f"{name}={value}" for name, value in parameters.items())
    target = state.get("target") or named
    client = scope.get("client")
    return Act(
        action=operation or "authenticate",
        status=status,
        request_id=state["request_id"],
        user_id=user_id,
        key_id=key_id,
        address=None if client is None else client[0],
        target=target[:LONGEST_TARGET] or None,
        facts=state.get("facts") or {},
    )


def _who(state: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """User and key of whoever was let in, or was not because they are disabled."""
    principal: Principal | None = state.get("caller")
    if principal is not None:
        return principal.id, principal.key.id
    disabled: UserDisabled | None = state.get("refused")
    return (None, None) if disabled is None else (disabled.user_id, disabled.key_id)


class Recorder:
    """Puts acts into the audit log."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def __call__(self, scope: Scope, status: int) -> None:
        """Record the request if it is to be; a log that cannot be written fails no request."""
        act = act_of(scope, status)
        if act is None:
            return
        try:
            with anyio.fail_after(PATIENCE, shield=True):
                await self._audit.append(act)
        except (StoreFailed, TimeoutError):
            log.exception("an entry could not be written to the audit log: %s", act)
