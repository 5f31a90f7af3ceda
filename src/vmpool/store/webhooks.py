"""Webhooks, how far each has come, and a log of what was sent to it."""

from __future__ import annotations

import builtins
import secrets
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Row, delete, func, insert, select, text, update

from vmpool.domain.webhook import MAX_WEBHOOKS, Delivery, Stage, Webhook
from vmpool.errors import TooManyWebhooks, WebhookNotFound
from vmpool.store.database import Database
from vmpool.store.models import DeliveryRow, WebhookRow

KEPT = 200
"""Deliveries kept of each webhook."""
_LOCK = 0x766D_7002
"""PostgreSQL's advisory lock around counting and inserting; SQLite has one writer anyway."""


class WebhookChanges(TypedDict, total=False):
    """What may change of a webhook; what is not named stays."""

    url: str
    types: tuple[str, ...]
    salt: str
    position: int
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_because: str | None


class Webhooks:
    """The tables `webhooks` and `webhook_deliveries`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def create(self, user_id: int, url: str, types: tuple[str, ...], position: int) -> Webhook:
        """A new one, sent what has a greater number than `position`; TooManyWebhooks."""
        values = {
            "user_id": user_id,
            "url": url,
            "types": [*types],
            "salt": fresh_salt(),
            "position": position,
            "created_at": self._clock(),
        }

        def work(connection: Connection) -> Webhook:
            if self._database.dialect == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            count = select(func.count()).where(WebhookRow.user_id == user_id)
            if connection.execute(count).scalar_one() >= MAX_WEBHOOKS:
                raise TooManyWebhooks(MAX_WEBHOOKS)
            return _webhook(connection.execute(insert(WebhookRow).values(values).returning(WebhookRow)).one())

        return await self._database.write(work)

    async def get(self, user_id: int, webhook_id: int) -> Webhook:
        """One of the user's; WebhookNotFound."""
        statement = select(WebhookRow).where(WebhookRow.id == webhook_id, WebhookRow.user_id == user_id)

        def work(connection: Connection) -> Webhook:
            row = connection.execute(statement).one_or_none()
            if row is None:
                raise WebhookNotFound(webhook_id)
            return _webhook(row)

        return await self._database.read(work)

    async def list(self, user_id: int | None = None) -> builtins.list[Webhook]:
        """The user's, newest first; None: everybody's."""
        statement = select(WebhookRow).order_by(WebhookRow.id.desc())
        if user_id is not None:
            statement = statement.where(WebhookRow.user_id == user_id)
        return await self._database.read(
            lambda connection: [_webhook(row) for row in connection.execute(statement)]
        )

    async def change(self, webhook: Webhook, **changes: Unpack[WebhookChanges]) -> Webhook:
        """The webhook with these changes; WebhookNotFound."""
        values: dict[str, Any] = dict(changes)
        if "types" in values:
            values["types"] = [*values["types"]]
        statement = update(WebhookRow).where(WebhookRow.id == webhook.id).values(values).returning(WebhookRow)

        def work(connection: Connection) -> Webhook:
            row = connection.execute(statement).one_or_none()
            if row is None:
                raise WebhookNotFound(webhook.id)
            return _webhook(row)

        return await self._database.write(work)

    async def delete(self, webhook: Webhook) -> None:
        """Remove it with its log; an absent one is a success."""

        def work(connection: Connection) -> None:
            connection.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id == webhook.id))
            connection.execute(delete(WebhookRow).where(WebhookRow.id == webhook.id))

        await self._database.write(work)

    async def delivered(self, of: Delivery) -> Delivery:
        """Add a try to the log, of which the newest KEPT stay; WebhookNotFound where it is deleted."""
        values = asdict(of) | {"stage": of.stage.value}
        del values["id"]
        of_webhook = DeliveryRow.webhook_id == of.webhook_id
        oldest = select(DeliveryRow.id).where(of_webhook).order_by(DeliveryRow.id.desc())

        def work(connection: Connection) -> Delivery:
            known = select(WebhookRow.id).where(WebhookRow.id == of.webhook_id).with_for_update()
            if connection.scalar(known) is None:
                raise WebhookNotFound(of.webhook_id)
            row = connection.execute(insert(DeliveryRow).values(values).returning(DeliveryRow)).one()
            last = connection.scalar(oldest.offset(KEPT).limit(1))
            if last is not None:
                connection.execute(delete(DeliveryRow).where(of_webhook, DeliveryRow.id <= last))
            return _delivery(row)

        return await self._database.write(work)

    async def deliveries(
        self, webhook_id: int, *, limit: int, before_id: int | None = None
    ) -> builtins.list[Delivery]:
        """Its log, newest first.  before_id: only older ones, for paging."""
        statement = select(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id)
        if before_id is not None:
            statement = statement.where(DeliveryRow.id < before_id)
        statement = statement.order_by(DeliveryRow.id.desc()).limit(limit)
        return await self._database.read(
            lambda connection: [_delivery(row) for row in connection.execute(statement)]
        )


def fresh_salt() -> str:
    """For a new secret."""
    return secrets.token_hex(16)


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        user_id=row.user_id,
        url=row.url,
        types=tuple(row.types),
        salt=row.salt,
        position=row.position,
        created_at=row.created_at,
        failing_since=row.failing_since,
        disabled_at=row.disabled_at,
        disabled_because=row.disabled_because,
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        type=row.type,
        attempt=row.attempt,
        stage=Stage(row.stage),
        at=row.at,
        seconds=row.seconds,
        status=row.status,
        problem=row.problem,
    )
