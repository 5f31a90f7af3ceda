"""What administrators do: users, their keys, the pool as a whole and the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from vmpool.client._sync.connection import Connection
from vmpool.client.models import VM, APIKey, AuditEntry, NewAPIKey, NewUser, Use, User
from vmpool.client.options import UserChanges
from vmpool.client.wire import MACHINE, Call, given


class Administration:
    """`client.admin`: every call needs an administrator's key with the scope `admin`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create_user(self, name: str, *, admin: bool = False, max_vms: int | None = None) -> NewUser:
        """Make a user with a first key.  max_vms: VMs at once; default: the server's limit."""
        body = {"name": name, "admin": admin, **given(max_vms=max_vms)}
        return self._connection.one(NewUser, Call("POST", "/api/users", body))

    def list_users(self) -> list[User]:
        """All users, newest first."""
        return self._connection.all(User, "/api/users")

    def get_user(self, user_id: int) -> User:
        """One user."""
        return self._connection.one(User, Call("GET", f"/api/users/{user_id}"))

    def update_user(self, user_id: int, **changes: Unpack[UserChanges]) -> User:
        """Change a user; what is not named stays.  Disabling stops their VMs and waits for it."""
        return self._connection.one(User, Call("PATCH", f"/api/users/{user_id}", dict(changes), wait=MACHINE))

    def list_keys(self, user_id: int) -> list[APIKey]:
        """A user's API keys."""
        return self._connection.all(APIKey, f"/api/users/{user_id}/keys")

    def create_key(
        self,
        user_id: int,
        name: str | None = None,
        ttl: int | None = None,
        scopes: Iterable[str] | None = None,
    ) -> NewAPIKey:
        """Make an API key for a user who has lost theirs.  ttl: seconds."""
        body = given(name=name, ttl=ttl, scopes=None if scopes is None else list(scopes))
        return self._connection.one(NewAPIKey, Call("POST", f"/api/users/{user_id}/keys", body))

    def revoke_key(self, user_id: int, key_id: int) -> None:
        """Make a user's API key worthless."""
        self._connection.send(Call("DELETE", f"/api/users/{user_id}/keys/{key_id}"))

    def list_vms(self) -> list[VM]:
        """Everybody's VMs, newest first, with their owner in `user_id`."""
        return self._connection.all(VM, "/api/pool/vms")

    def list_use(self) -> list[Use]:
        """What each user takes of the pool."""
        return self._connection.all(Use, "/api/pool/users")

    def list_audit(
        self, *, limit: int | None = None, user_id: int | None = None, action: str | None = None
    ) -> list[AuditEntry]:
        """Who did what, newest first.  limit: entries at most.  action: only this operation."""
        narrowed = given(user_id=user_id, action=action)
        return self._connection.all(AuditEntry, "/api/audit", limit, **narrowed)
