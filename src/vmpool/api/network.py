"""Routes of a VM's network."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.history import NEWEST_FIRST
from vmpool.api.paging import Paged, link_next
from vmpool.api.record import note
from vmpool.api.requests import network_policy
from vmpool.api.schemas import Network, NetworkLogEntry, NetworkPolicy
from vmpool.api.services import Services
from vmpool.api.vms import VMReference

router = APIRouter(
    prefix="/api/vms/{vm_id}/network",
    tags=["network"],
    dependencies=KEY_NEEDED,
    responses=answers.PROBLEMS,
)


@router.get("", operation_id="get_network", summary="What a VM may reach, and what it has used")
async def get_network(request: Request, caller: Caller, vm_id: VMReference) -> Network:
    """Its mode, its policy as asked for, the limits that hold, and figures."""
    return answers.network(await Services.of(request).pool.network(caller.id, vm_id))


@router.put(
    "",
    operation_id="set_network",
    summary="Change what a VM may reach",
    responses=answers.refusals(e409="Its network is not `filtered`.", e422="A rule is none."),
)
async def set_network(request: Request, caller: Caller, vm_id: VMReference, body: NetworkPolicy) -> Network:
    """The whole policy: what is left out is the default.  Holds at once, also for connections that are open:
    those it does not allow are cut."""
    note(request, **body.model_dump(exclude_defaults=True))
    pool = Services.of(request).pool
    return answers.network(await pool.set_network(caller.id, vm_id, network_policy(body)))


@router.get(
    "/log",
    operation_id="network_log",
    summary="What a VM has reached, and was refused",
    responses=NEWEST_FIRST,
)
async def network_log(
    request: Request, response: Response, caller: Caller, vm_id: VMReference, page: Paged
) -> list[NetworkLogEntry]:
    """Newest first: connections that have ended, and those that were refused."""
    pool = Services.of(request).pool
    found = await pool.network_log(caller.id, vm_id, limit=page.limit, before_id=page.before)
    link_next(request, response, page, [entry.id for entry in found])
    return [answers.network_entry(entry) for entry in found]
