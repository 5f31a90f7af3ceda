"""Who owns VMs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects import postgresql, sqlite

from vmpool.domain import User
from vmpool.errors import NotFound
from vmpool.store.database import Database
from vmpool.store.models import UserRow


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

    async def get(self, user_id: int) -> User:
        """The user; NotFound where there is none."""

        def work(connection: Connection) -> User:
            row = connection.execute(select(UserRow).where(UserRow.id == user_id)).one_or_none()
            if row is None:
                raise NotFound(user_id)
            return user_of(row)

        return await self._database.read(work)

    async def list(self) -> list[User]:
        """Every user, oldest first."""

        def work(connection: Connection) -> list[User]:
            return [user_of(row) for row in connection.execute(select(UserRow).order_by(UserRow.id))]

        return await self._database.read(work)


def user_of(row: Row[UserRow]) -> User:
    """The domain's value of a row."""
    return User(id=row.id, name=row.name, admin=row.admin, created_at=row.created_at)
