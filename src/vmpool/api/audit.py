"""The route of the audit log, for administrators; see `vmpool.api.record` for how it is written."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.paging import LINK_HEADER, Paged, link_next
from vmpool.api.schemas import AuditEntry
from vmpool.api.schemas.base import Id
from vmpool.api.services import Services

router = APIRouter(prefix="/api/audit", tags=["audit"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)

OfUser = Annotated[Id | None, Query(description="Only what this user did.")]
OfAction = Annotated[str | None, Query(max_length=64, description="Only this operation, by its id.")]


@router.get(
    "",
    operation_id="list_audit",
    summary="Who did what",
    responses={200: {"description": "Newest first.", "headers": LINK_HEADER}},
)
async def list_audit(
    request: Request,
    response: Response,
    caller: Caller,
    page: Paged,
    user_id: OfUser = None,
    action: OfAction = None,
) -> list[AuditEntry]:
    """Everything that made, changed or destroyed something, what administrators looked at, and refusals.

    Code that ran is not here: it is in the history of its VM.
    """
    found = await Services.of(request).store.audit.list(
        limit=page.limit, before_id=page.before, user_id=user_id, action=action
    )
    link_next(request, response, page, [entry.id for entry in found])
    return [answers.audit_entry(entry) for entry in found]
