"""Who owns VMs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypedDict, Unpack

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from vmpool.domain import User
from vmpool.errors import Conflict, UserNotFound
from vmpool.store.database import Database
from vmpool.store.models import UserRow


class UserChanges(TypedDict, total=False):
    """What may change of a user; what is not named stays.  max_vms: None lets the server's limit hold."""

    admin: bool
    disabled: bool
    max_vms: int | None


class Users:
    """The table `users`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def ensure(self, name: str, *, admin: bool = False) -> User:
        """The user of this name, made if there is none; an existing one becomes admin if asked so."""

        def work(connection: Connection) -> User:
            values = {"name": name, "admin": admin, "created_at": self._clock()}
            dialect = postgresql if self._database.dialect == "postgresql" else sqlite
            connection.execute(dialect.insert(UserRow).values(values).on_conflict_do_nothing())
            if admin:
                connection.execute(update(UserRow).where(UserRow.name == name).values(admin=True))
            return user_of(connection.execute(select(UserRow).where(UserRow.name == name)).one())

        return await self._database.write(work)

    async def create(self, name: str, *, admin: bool = False, max_vms: int | None = None) -> User:
        """A new user; Conflict where the name is taken."""

        def work(connection: Connection) -> User:
            values = {"name": name, "admin": admin, "max_vms": max_vms, "created_at": self._clock()}
            try:
                row = connection.execute(insert(UserRow).values(values).returning(UserRow)).one()
            except IntegrityError as failure:
                raise Conflict(f"there is already a user named '{name}'", name=name) from failure
            return user_of(row)

        return await self._database.write(work)

    async def get(self, user_id: int) -> User:
        """The user; UserNotFound where there is none."""
        return await self._database.read(lambda connection: _one(connection, user_id))

    async def list(self, *, limit: int | None = None, before_id: int | None = None) -> list[User]:
        """Users, newest first.  before_id: only older ones, for paging."""
        statement = select(UserRow).order_by(UserRow.id.desc()).limit(limit)
        if before_id is not None:
            statement = statement.where(UserRow.id < before_id)
        return await self._database.read(
            lambda connection: [user_of(row) for row in connection.execute(statement)]
        )

    async def change(self, user_id: int, **changes: Unpack[UserChanges]) -> User:
        """The user with these changes; UserNotFound.

        Conflict where no administrator that is not disabled would be left: nobody could undo it.
        """

        def work(connection: Connection) -> User:
            # Two administrators who demote each other at once: the second one waits, and is refused.
            connection.execute(select(UserRow.id).where(UserRow.admin).with_for_update())
            before = _one(connection, user_id)
            values: dict[str, object] = {
                name: changes[name] for name in ("admin", "max_vms") if name in changes
            }
            if "disabled" in changes:
                values["disabled_at"] = (before.disabled_at or self._clock()) if changes["disabled"] else None
            if values:
                connection.execute(update(UserRow).where(UserRow.id == user_id).values(values))
            acting = select(func.count()).where(UserRow.admin, UserRow.disabled_at.is_(None))
            if before.admin and not connection.execute(acting).scalar_one():
                raise Conflict("this is the last administrator; make another one first")
            return _one(connection, user_id)

        return await self._database.write(work)


def _one(connection: Connection, user_id: int) -> User:
    row = connection.execute(select(UserRow).where(UserRow.id == user_id)).one_or_none()
    if row is None:
        raise UserNotFound(user_id)
    return user_of(row)


def user_of(row: Row[UserRow]) -> User:
    """The domain's value of a row."""
    return User(
        id=row.id,
        name=row.name,
        admin=row.admin,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        max_vms=row.max_vms,
    )
