"""Who is asking: API keys in the Authorization header, looked up once and remembered for a short while."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.requests import Request

from vmpool.api.scopes import NEEDED
from vmpool.domain import Principal
from vmpool.domain.rate import Bucket, Rate
from vmpool.errors import RateLimited, Unauthenticated, UserDisabled, VMPoolError
from vmpool.store import utcnow
from vmpool.store.keys import Keys

K = TypeVar("K", int, str)

REMEMBERED = timedelta(seconds=30)
"""How long a lookup holds.  Revoking through this server takes effect at once; see `forget`."""
MAX_REMEMBERED = 1024
LONGEST_SECRET = 512


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast a user may ask, and an address may send keys that do not work; None: as fast as they like."""

    requests: Rate | None = None
    failures: Rate | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    until: datetime
    bucket: Bucket


class Authenticator:
    """From the Authorization header to who asks.  Secrets are remembered by their hash only."""

    def __init__(
        self, keys: Keys, clock: Callable[[], datetime] = utcnow, rates: Rates | None = None
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._rates = rates or Rates()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._of_users: OrderedDict[int, Bucket] = OrderedDict()
        self._of_addresses: OrderedDict[str, Bucket] = OrderedDict()
        self._epoch = 0

    async def __call__(self, header: str | None, address: str | None = None) -> Principal:
        """Who has this key.  address: where the request comes from.

        Unauthenticated for anything else, UserDisabled, and RateLimited for a user who asks too fast or an
        address whose keys were wrong, or of disabled users, too often.  A key that works is never refused for
        an address's failures: somebody else behind the same proxy may have made them.
        """
        known = await self._find(header, address)
        rate = self._rates.requests
        if rate is not None:
            wait = known.bucket.take(rate, time.monotonic())
            if wait:
                raise RateLimited("requests in a short time", wait)
        return known.principal

    async def confirm(self, header: str | None) -> None:
        """Unauthenticated or UserDisabled where who was let in with this key would not be any more."""
        await self._find(header, None)

    async def _find(self, header: str | None, address: str | None) -> _Known:
        secret = _secret_of(header)
        if secret is None:
            raise self.failure(address, Unauthenticated())
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is None or self._clock() >= known.until:
            return await self._look_up(secret, digest, address)
        return known

    async def _look_up(self, secret: str, digest: bytes, address: str | None) -> _Known:
        epoch = self._epoch
        principal = await self._keys.authenticate(secret)
        if principal is None:
            self._known.pop(digest, None)
            raise self.failure(address, Unauthenticated())
        if principal.user.disabled_at is not None:
            raise self.failure(address, UserDisabled(principal.id, principal.key.id))
        until = self._clock() + REMEMBERED
        bucket = _bucket(self._of_users, principal.id)
        known = _Known(principal, min(until, principal.key.expires_at or until), bucket)
        # A key revoked while we were reading must not be remembered as a good one.
        if epoch == self._epoch:
            self._known[digest] = known
            self._known.move_to_end(digest)
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return known

    def failure(self, address: str | None, refusal: VMPoolError) -> VMPoolError:
        """What an address is told that has sent no key or link that works: `refusal`, or to slow down."""
        rate = self._rates.failures
        if rate is not None and address is not None:
            wait = _bucket(self._of_addresses, network_of(address)).take(rate, time.monotonic())
            if wait:
                return RateLimited("requests without an API key or link that works in a short time", wait)
        return refusal

    def forget(self) -> None:
        """Look every key up again: call it after a key or a user has changed."""
        self._epoch += 1
        self._known.clear()


def network_of(address: str) -> str:
    """What is counted as one sender: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # a socket's name
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:  # what a socket of both versions calls an IPv4 address
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


def _bucket(buckets: OrderedDict[K, Bucket], of: K) -> Bucket:
    """The bucket of this caller; those that asked longest ago are given up for new ones."""
    bucket = buckets.get(of)
    if bucket is None:
        bucket = buckets[of] = Bucket()
        if len(buckets) > MAX_REMEMBERED:
            buckets.popitem(last=False)
    buckets.move_to_end(of)
    return bucket


def _secret_of(header: str | None) -> str | None:
    """The key in a header; None where it cannot be one."""
    scheme, _, secret = (header or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not 0 < len(secret) <= LONGEST_SECRET:
        return None
    return secret


_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer vmp_...`.")
"""Only for the OpenAPI document: `vmpool.api.edge` has authenticated before any route runs."""


async def _allowed(request: Request) -> None:
    """InsufficientScope or Forbidden unless the caller's key has the operation's scope.

    Nobody asks where the edge has let a request in without a key.
    """
    operation: str = request.scope["route"].operation_id
    request.state.operation = operation
    principal: Principal | None = getattr(request.state, "caller", None)
    if principal is not None:
        principal.require(NEEDED[operation])


async def _caller(request: Request) -> Principal:
    principal: Principal = request.state.caller
    return principal


Caller = Annotated[Principal, Depends(_caller)]
"""A route's parameter: who asks; `.id` is the user's."""
KEY_NEEDED = [Depends(_bearer), Depends(_allowed)]
"""Dependencies of every router whose paths need a key: it must have the scope `vmpool.api.scopes` names."""
