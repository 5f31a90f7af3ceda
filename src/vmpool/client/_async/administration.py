"""What administrators do: users, their keys, the pool as a whole and the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from vmpool.client._async.connection import AsyncConnection
from vmpool.client.models import VM, APIKey, AuditEntry, NewAPIKey, NewUser, Use, User
from vmpool.client.options import UserChanges
from vmpool.client.wire import MACHINE, Call, given


class AsyncAdministration:
    """`client.admin`: every call needs an administrator's key with the scope `admin`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create_user(self, name: str, *, admin: bool = False, max_vms: int | None = None) -> NewUser:
        """Make a user with a first key.  max_vms: VMs at once; default: the server's limit."""
        body = {"name": name, "admin": admin, **given(max_vms=max_vms)}
        return await self._connection.one(NewUser, Call("POST", "/api/users", body))

    async def list_users(self) -> list[User]:
        """All users, newest first."""
        return await self._connection.all(User, "/api/users")

    async def get_user(self, user_id: int) -> User:
        """One user."""
        return await self._connection.one(User, Call("GET", f"/api/users/{user_id}"))

    async def update_user(self, user_id: int, **changes: Unpack[UserChanges]) -> User:
        """Change a user; what is not named stays.  Disabling stops their VMs and waits for it."""
        return await self._connection.one(
            User, Call("PATCH", f"/api/users/{user_id}", dict(changes), wait=MACHINE)
        )

    async def list_keys(self, user_id: int) -> list[APIKey]:
        """A user's API keys."""
        return await self._connection.all(APIKey, f"/api/users/{user_id}/keys")

    async def create_key(
        self,
        user_id: int,
        name: str | None = None,
        ttl: int | None = None,
        scopes: Iterable[str] | None = None,
    ) -> NewAPIKey:
        """Make an API key for a user who has lost theirs.  ttl: seconds."""
        body = given(name=name, ttl=ttl, scopes=None if scopes is None else list(scopes))
        return await self._connection.one(NewAPIKey, Call("POST", f"/api/users/{user_id}/keys", body))

    async def revoke_key(self, user_id: int, key_id: int) -> None:
        """Make a user's API key worthless."""
        await self._connection.send(Call("DELETE", f"/api/users/{user_id}/keys/{key_id}"))

    async def list_vms(self) -> list[VM]:
        """Everybody's VMs, newest first, with their owner in `user_id`."""
        return await self._connection.all(VM, "/api/pool/vms")

    async def list_use(self) -> list[Use]:
        """What each user takes of the pool."""
        return await self._connection.all(Use, "/api/pool/users")

    async def list_audit(
        self, *, limit: int | None = None, user_id: int | None = None, action: str | None = None
    ) -> list[AuditEntry]:
        """Who did what, newest first.  limit: entries at most.  action: only this operation."""
        narrowed = given(user_id=user_id, action=action)
        return await self._connection.all(AuditEntry, "/api/audit", limit, **narrowed)
