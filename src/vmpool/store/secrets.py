"""Secrets: names, and values that were encrypted before they came here."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, text, update

from vmpool.domain.secret import MAX_SECRETS, Secret
from vmpool.errors import SecretNotFound, TooManySecrets
from vmpool.store.database import Database
from vmpool.store.models import SecretRow

ALL_VMS = 0
"""In the column `vm_id`: no VM has this number, and a unique index holds for it."""
_LOCK = 0x766D_7003


class Secrets:
    """The table `secrets`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def set(
        self, user_id: int, vm_id: int | None, name: str, sealed: str, hosts: tuple[str, ...] = ()
    ) -> Secret:
        """Keep it, in the place of one of the same name; TooManySecrets."""
        now = self._clock()
        where = (
            SecretRow.user_id == user_id,
            SecretRow.vm_id == (ALL_VMS if vm_id is None else vm_id),
            SecretRow.name == name,
        )

        def work(connection: Connection) -> Secret:
            if self._database.dialect == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            changed = connection.execute(
                update(SecretRow)
                .where(*where)
                .values(sealed=sealed, hosts=[*hosts], updated_at=now)
                .returning(SecretRow)
            ).one_or_none()
            if changed is not None:
                return _secret(changed)
            count = select(func.count()).where(SecretRow.user_id == user_id)
            if connection.execute(count).scalar_one() >= MAX_SECRETS:
                raise TooManySecrets(MAX_SECRETS)
            values = {
                "user_id": user_id,
                "vm_id": ALL_VMS if vm_id is None else vm_id,
                "name": name,
                "sealed": sealed,
                "hosts": [*hosts],
                "created_at": now,
                "updated_at": now,
            }
            return _secret(connection.execute(insert(SecretRow).values(values).returning(SecretRow)).one())

        return await self._database.write(work)

    async def list(self, user_id: int) -> list[Secret]:
        """The user's, newest first."""
        statement = select(SecretRow).where(SecretRow.user_id == user_id).order_by(SecretRow.id.desc())
        return await self._database.read(
            lambda connection: [_secret(row) for row in connection.execute(statement)]
        )

    async def all(self) -> builtins.list[tuple[Secret, str]]:
        """Everybody's, with their encrypted values."""
        statement = select(SecretRow).order_by(SecretRow.id)
        return await self._database.read(
            lambda connection: [(_secret(row), row.sealed) for row in connection.execute(statement)]
        )

    async def delete(self, user_id: int, vm_id: int | None, name: str) -> None:
        """Forget it; SecretNotFound."""
        statement = delete(SecretRow).where(
            SecretRow.user_id == user_id,
            SecretRow.vm_id == (ALL_VMS if vm_id is None else vm_id),
            SecretRow.name == name,
        )

        def work(connection: Connection) -> None:
            if not connection.execute(statement).rowcount:
                raise SecretNotFound(name)

        await self._database.write(work)

    async def forget_vm(self, vm_id: int) -> None:
        """The VM is deleted, and its own secrets with it."""
        statement = delete(SecretRow).where(SecretRow.vm_id == vm_id)

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work)


def _secret(row: Row[Any]) -> Secret:
    return Secret(
        id=row.id,
        user_id=row.user_id,
        vm_id=row.vm_id or None,
        name=row.name,
        created_at=row.created_at,
        updated_at=row.updated_at,
        hosts=tuple(row.hosts),
    )
