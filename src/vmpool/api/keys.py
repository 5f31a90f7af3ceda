"""Routes of one's own API keys."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from starlette.requests import Request

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.record import note
from vmpool.api.schemas import APIKey, CreateKey, NewAPIKey, RotateKey
from vmpool.api.schemas.base import Id
from vmpool.api.services import Services
from vmpool.domain import ApiKey
from vmpool.domain.user import grant
from vmpool.store import utcnow

router = APIRouter(prefix="/api/keys", tags=["keys"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)


@router.post("", status_code=201, operation_id="create_key", summary="Make an API key of your own")
async def create_key(request: Request, caller: Caller, body: CreateKey | None = None) -> NewAPIKey:
    """The key's secret is in this answer and nowhere else.  It may do no more than the key that makes it."""
    wanted = body or CreateKey()
    lifetime = None if wanted.ttl is None else timedelta(seconds=wanted.ttl)
    granted = grant(caller, wanted.scopes, lifetime, utcnow())
    key, secret = await Services.of(request).store.keys.create(
        caller.id, wanted.name, granted.expires_at, granted.scopes
    )
    note(request, target=f"key_id={key.id}", scopes=sorted(key.scopes))
    return new_key(key, secret)


@router.get("", operation_id="list_keys", summary="Your API keys that still work or have expired")
async def list_keys(request: Request, caller: Caller) -> list[APIKey]:
    """Newest first; without their secrets, and without those that were revoked."""
    return shown(await Services.of(request).store.keys.list(caller.id))


@router.delete("/{key_id}", status_code=204, operation_id="revoke_key", summary="Revoke an API key")
async def revoke_key(request: Request, caller: Caller, key_id: Id) -> None:
    """It is refused from now on.  Revoking it again changes nothing."""
    services = Services.of(request)
    await services.store.keys.revoke(caller.id, key_id)
    services.authenticator.forget()


@router.post(
    "/{key_id}/rotate", status_code=201, operation_id="rotate_key", summary="Replace an API key by a new one"
)
async def rotate_key(
    request: Request, caller: Caller, key_id: Id, body: RotateKey | None = None
) -> NewAPIKey:
    """With the old one's name, scopes and length of life; the old one works `overlap` seconds more.

    A key that may do more than the one you use is 403.
    """
    services, overlap = Services.of(request), (body or RotateKey()).overlap
    old = await services.store.keys.get(caller.id, key_id)
    caller.require_all_of(old)
    key, secret = await services.store.keys.rotate(
        caller.id, key_id, timedelta(seconds=overlap), caller.key.expires_at
    )
    services.authenticator.forget()
    note(request, new_key_id=key.id, overlap=overlap)
    return new_key(key, secret)


def shown(keys: list[ApiKey]) -> list[APIKey]:
    """Newest first, without those that were revoked."""
    return [answers.api_key(key) for key in reversed(keys) if key.revoked_at is None]


def new_key(key: ApiKey, secret: str) -> NewAPIKey:
    """A key with its secret."""
    return NewAPIKey(**answers.api_key(key).model_dump(), key=secret)
