"""Routes of one's own secrets: set, listed by name, forgotten; never read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.requests import Request

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.record import note
from vmpool.api.schemas import Secret, SetSecret
from vmpool.api.services import Services

router = APIRouter(
    prefix="/api/secrets", tags=["secrets"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS
)

Name = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", examples=["API_TOKEN"])]
OfVM = Annotated[
    str | None,
    Query(min_length=1, max_length=63, description="For executions in this VM only: its id or name."),
]


@router.get("", operation_id="list_secrets", summary="Your secrets, by name")
async def list_secrets(request: Request, caller: Caller) -> list[Secret]:
    """Newest first; no value."""
    return [answers.secret(one) for one in await Services.of(request).pool.list_secrets(caller.id)]


@router.put("/{secret_name}", operation_id="set_secret", summary="Keep a secret")
async def set_secret(
    request: Request, caller: Caller, secret_name: Name, body: SetSecret, vm: OfVM = None
) -> Secret:
    """In the place of one of the same name.  Executions get it that name it in `secrets`."""
    kept = await Services.of(request).pool.set_secret(caller.id, vm, secret_name, body.value, body.hosts)
    note(request, target=f"secret={secret_name}", vm_id=kept.vm_id, hosts=body.hosts)
    return answers.secret(kept)


@router.delete("/{secret_name}", status_code=204, operation_id="delete_secret", summary="Forget a secret")
async def delete_secret(request: Request, caller: Caller, secret_name: Name, vm: OfVM = None) -> None:
    """What runs keeps it."""
    await Services.of(request).pool.delete_secret(caller.id, vm, secret_name)
