"""Routes of API keys and users."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from starlette.requests import Request

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Administrator, Caller
from vmpool.api.paging import LARGEST_ID
from vmpool.api.schemas import APIKey, CreateKey, CreateUser, NewAPIKey, NewUser, User
from vmpool.api.services import Services
from vmpool.domain import ApiKey
from vmpool.errors import Conflict, KeyNotFound
from vmpool.store import utcnow

router = APIRouter(prefix="/api", tags=["keys"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)


@router.post("/keys", status_code=201, operation_id="create_key", summary="Make an API key of your own")
async def create_key(request: Request, caller: Caller, body: CreateKey | None = None) -> NewAPIKey:
    """The key's secret is in this answer and nowhere else."""
    wanted = body or CreateKey()
    expires_at = None
    if wanted.ttl is not None:
        expires_at = utcnow() + timedelta(seconds=wanted.ttl)
    keys = Services.of(request).store.keys
    return _new(*await keys.create(caller.id, wanted.name, expires_at))


@router.get("/keys", operation_id="list_keys", summary="Your API keys that still work or have expired")
async def list_keys(request: Request, caller: Caller) -> list[APIKey]:
    """Newest first; without their secrets, and without those that were revoked."""
    found = await Services.of(request).store.keys.list(caller.id)
    return [answers.api_key(key) for key in reversed(found) if key.revoked_at is None]


@router.delete("/keys/{key_id}", status_code=204, operation_id="revoke_key", summary="Revoke an API key")
async def revoke_key(request: Request, caller: Caller, key_id: int) -> None:
    """It is refused from now on.  Revoking it again changes nothing."""
    if not 0 < key_id <= LARGEST_ID:
        raise KeyNotFound(key_id)
    services = Services.of(request)
    await services.store.keys.revoke(caller.id, key_id)
    services.authenticator.forget()


@router.post("/users", status_code=201, operation_id="create_user", summary="Make a user and their first key")
async def create_user(request: Request, caller: Administrator, body: CreateUser) -> NewUser:
    """For administrators."""
    store = Services.of(request).store
    if any(user.name == body.name for user in await store.users.list()):
        raise Conflict(f"there is already a user named '{body.name}'", name=body.name)
    user = await store.users.ensure(body.name, admin=body.admin)
    key, secret = await store.keys.create(user.id, "first")
    return NewUser(**answers.user(user).model_dump(), key=_new(key, secret))


@router.get("/users", operation_id="list_users", summary="All users")
async def list_users(request: Request, caller: Administrator) -> list[User]:
    """Newest first.  For administrators."""
    return [answers.user(user) for user in reversed(await Services.of(request).store.users.list())]


def _new(key: ApiKey, secret: str) -> NewAPIKey:
    return NewAPIKey(**answers.api_key(key).model_dump(), key=secret)
