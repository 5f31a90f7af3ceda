"""Routes of the pool as a whole, for administrators."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.paging import LINK_HEADER, Paged, link_next
from vmpool.api.schemas import VM, Use
from vmpool.api.services import Services

router = APIRouter(prefix="/api/pool", tags=["pool"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)

NEWEST_FIRST: dict[int | str, dict[str, object]] = {
    200: {"description": "Newest first.", "headers": LINK_HEADER}
}


@router.get("/vms", operation_id="list_all_vms", summary="Everybody's VMs", responses=NEWEST_FIRST)
async def list_all_vms(request: Request, response: Response, caller: Caller, page: Paged) -> list[VM]:
    """Newest first, with their owner in `user_id`."""
    found = await Services.of(request).pool.list_all_vms(limit=page.limit, before_id=page.before)
    link_next(request, response, page, [vm.id for vm in found])
    return [answers.vm(vm) for vm in found]


@router.get(
    "/users", operation_id="list_use", summary="What each user takes of the pool", responses=NEWEST_FIRST
)
async def list_use(request: Request, response: Response, caller: Caller, page: Paged) -> list[Use]:
    """Every user, those without VMs too, newest first."""
    services = Services.of(request)
    found = await services.store.users.list(limit=page.limit, before_id=page.before)
    link_next(request, response, page, [user.id for user in found])
    return [answers.use(user, services.pool.use_of(user.id)) for user in found]
