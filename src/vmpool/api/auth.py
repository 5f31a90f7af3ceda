"""Who is asking: API keys in the Authorization header, looked up once and remembered for a short while."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request

from vmpool.domain import User
from vmpool.errors import Forbidden, Unauthenticated
from vmpool.store import utcnow
from vmpool.store.keys import Keys

REMEMBERED = timedelta(seconds=30)
"""How long a lookup holds.  Revoking through this server takes effect at once; see `forget`."""
MAX_REMEMBERED = 1024
LONGEST_SECRET = 512


@dataclass(frozen=True, slots=True)
class _Known:
    user: User
    until: datetime


class Authenticator:
    """From the Authorization header to its user.  Secrets are remembered by their hash only."""

    def __init__(self, keys: Keys, clock: Callable[[], datetime] = utcnow) -> None:
        self._keys = keys
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._epoch = 0

    async def __call__(self, header: str | None) -> User:
        """The user whose key this is; Unauthenticated for anything else."""
        secret = _secret_of(header)
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None and self._clock() < known.until:
            return known.user
        return await self._look_up(secret, digest)

    async def _look_up(self, secret: str, digest: bytes) -> User:
        epoch = self._epoch
        found = await self._keys.authenticate(secret)
        if found is None:
            self._known.pop(digest, None)
            raise Unauthenticated
        user, key = found
        # A key revoked while we were reading must not be remembered as a good one.
        if epoch == self._epoch:
            until = self._clock() + REMEMBERED
            self._known[digest] = _Known(user, min(until, key.expires_at or until))
            self._known.move_to_end(digest)
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return user

    def forget(self) -> None:
        """Look every key up again: call it after a key or a user has changed."""
        self._epoch += 1
        self._known.clear()


def _secret_of(header: str | None) -> str:
    if header is None:
        raise Unauthenticated
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not 0 < len(secret) <= LONGEST_SECRET:
        raise Unauthenticated
    return secret


_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer vmp_...`.")
"""Only for the OpenAPI document: `vmpool.api.edge` has authenticated before any route runs."""


async def _caller(request: Request) -> User:
    user: User = request.state.caller
    return user


async def _administrator(request: Request) -> User:
    user: User = request.state.caller
    if not user.admin:
        raise Forbidden("this needs an administrator's key")
    return user


Caller = Annotated[User, Depends(_caller)]
"""A route's parameter: the user who asks."""
Administrator = Annotated[User, Depends(_administrator)]
"""A route's parameter: the user who asks, refused with 403 unless an administrator."""
KEY_NEEDED = [Depends(_bearer)]
"""Dependencies of every router whose paths need a key."""
