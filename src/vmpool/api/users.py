"""Routes of users and their API keys, for administrators."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.keys import new_key, shown
from vmpool.api.paging import LINK_HEADER, Paged, link_next
from vmpool.api.record import note
from vmpool.api.schemas import APIKey, CreateKey, CreateUser, NewAPIKey, NewUser, UpdateUser, User
from vmpool.api.schemas.base import Id
from vmpool.api.services import Services
from vmpool.domain.user import ALL_SCOPES, USUAL_SCOPES
from vmpool.store import utcnow
from vmpool.store.users import UserChanges

router = APIRouter(prefix="/api/users", tags=["users"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)


@router.post("", status_code=201, operation_id="create_user", summary="Make a user and their first key")
async def create_user(request: Request, caller: Caller, body: CreateUser) -> NewUser:
    """Their key may do everything they may."""
    store = Services.of(request).store
    user = await store.users.create(body.name, admin=body.admin, max_vms=body.max_vms)
    scopes = ALL_SCOPES if body.admin else USUAL_SCOPES
    key, secret = await store.keys.create(user.id, "first", scopes=scopes)
    note(request, target=f"user_id={user.id}", **body.model_dump(exclude_unset=True))
    return NewUser(**answers.user(user).model_dump(), key=new_key(key, secret))


@router.get(
    "",
    operation_id="list_users",
    summary="All users",
    responses={200: {"description": "Newest first.", "headers": LINK_HEADER}},
)
async def list_users(request: Request, response: Response, caller: Caller, page: Paged) -> list[User]:
    """Newest first."""
    found = await Services.of(request).store.users.list(limit=page.limit, before_id=page.before)
    link_next(request, response, page, [user.id for user in found])
    return [answers.user(user) for user in found]


@router.get("/{user_id}", operation_id="get_user", summary="One user")
async def get_user(request: Request, caller: Caller, user_id: Id) -> User:
    """Of any user."""
    return answers.user(await Services.of(request).store.users.get(user_id))


@router.patch("/{user_id}", operation_id="update_user", summary="Disable, enable or limit a user")
async def update_user(request: Request, caller: Caller, user_id: Id, body: UpdateUser) -> User:
    """What is left out stays.  Disabling takes effect at once and stops the user's VMs; their files stay.

    The last administrator can be neither disabled nor made an ordinary user: 409.
    """
    services, changes = Services.of(request), _changes(body)
    note(request, **changes)
    user = await services.store.users.change(user_id, **changes)
    services.authenticator.forget()
    if body.disabled:
        await services.pool.stop_vms_of(user_id)
    return answers.user(user)


@router.get("/{user_id}/keys", operation_id="list_user_keys", summary="A user's API keys")
async def list_user_keys(request: Request, caller: Caller, user_id: Id) -> list[APIKey]:
    """Newest first; without their secrets, and without those that were revoked."""
    store = Services.of(request).store
    await store.users.get(user_id)
    return shown(await store.keys.list(user_id))


@router.post(
    "/{user_id}/keys", status_code=201, operation_id="create_user_key", summary="Make an API key for a user"
)
async def create_user_key(
    request: Request, caller: Caller, user_id: Id, body: CreateKey | None = None
) -> NewAPIKey:
    """For one who has lost theirs.  Its secret is in this answer and nowhere else."""
    store, wanted = Services.of(request).store, body or CreateKey()
    user = await store.users.get(user_id)
    expires_at = None if wanted.ttl is None else utcnow() + timedelta(seconds=wanted.ttl)
    scopes = USUAL_SCOPES if wanted.scopes is None else frozenset(wanted.scopes)
    key, secret = await store.keys.create(user.id, wanted.name, expires_at, scopes)
    note(request, target=f"user_id={user.id}, key_id={key.id}", scopes=sorted(key.scopes))
    return new_key(key, secret)


@router.delete(
    "/{user_id}/keys/{key_id}", status_code=204, operation_id="revoke_user_key", summary="Revoke a user's key"
)
async def revoke_user_key(request: Request, caller: Caller, user_id: Id, key_id: Id) -> None:
    """It is refused from now on.  Revoking it again changes nothing."""
    services = Services.of(request)
    await services.store.keys.revoke(user_id, key_id)
    services.authenticator.forget()


def _changes(body: UpdateUser) -> UserChanges:
    """What was sent.  Only a quota can be null: the others are then as if left out."""
    changes: UserChanges = {}
    if body.admin is not None:
        changes["admin"] = body.admin
    if body.disabled is not None:
        changes["disabled"] = body.disabled
    if "max_vms" in body.model_fields_set:
        changes["max_vms"] = body.max_vms
    return changes
