"""Sending events to webhooks: each has a task that goes through its user's events in order.

The queue is the events themselves, so it is bounded as they are, and the next server goes on where this one
was.  An event that does not arrive is tried a few times, then left out; a webhook at which nothing has
arrived for long is disabled.  An event may be sent twice (its id says so), never out of order.
"""

from __future__ import annotations

import builtins
import logging
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter

import anyio
import anyio.abc
from anyio import to_thread

from vmpool.domain.event import Wanted, kinds_of
from vmpool.domain.webhook import (
    Delivery,
    Message,
    Stage,
    Webhook,
    message_of,
    problem_of,
    secret_of,
    trial_message,
)
from vmpool.errors import Conflict, EventsGone, InvalidRequest, VMPoolError, WebhookNotFound
from vmpool.network.destinations import BadDestination
from vmpool.network.posting import NotPosted, Poster, Target
from vmpool.network.resolver import Lane
from vmpool.pool.events import Journal
from vmpool.store.statedir import write_private
from vmpool.store.webhooks import Webhooks as Rows
from vmpool.store.webhooks import fresh_salt

logger = logging.getLogger(__name__)

RETRY_AFTER = (1.0, 10.0, 60.0, 300.0, 900.0)
"""Seconds before each further try, give or take a fifth."""
PATIENCE = timedelta(days=3)
"""How long a webhook at which nothing arrives is tried."""
AGAIN = 5.0
"""Seconds until what the database did not take is tried again."""
GONE = 410
"""A receiver that answers this wants nothing more."""
KEY_BYTES = 32


@dataclass(slots=True)
class _Sending:
    """One webhook's task.  lane: of its lookups."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    lane: Lane = field(default_factory=Lane)
    ended: anyio.Event = field(default_factory=anyio.Event)


class Webhooks:
    """Every user's.  key: what their secrets are made from."""

    def __init__(
        self,
        rows: Rows,
        journal: Journal,
        poster: Poster,
        clock: Callable[[], datetime],
        tasks: anyio.abc.TaskGroup,
        key: bytes,
    ) -> None:
        self._rows = rows
        self._journal = journal
        self._poster = poster
        self._clock = clock
        self._tasks = tasks
        self._key = key
        self._sending: dict[int, _Sending] = {}

    async def open(self) -> None:
        """Go on with every webhook that is not disabled."""
        for webhook in await self._rows.list():
            self._begin(webhook)

    # -- what its user asks

    async def create(self, user_id: int, url: str, types: Sequence[str]) -> tuple[Webhook, str]:
        """A new one and its secret; it is sent what happens from now on.  InvalidRequest, TooManyWebhooks."""
        self._check(url, types)
        await self._journal.flush()  # what happened before is not for it
        webhook = await self._rows.create(user_id, url, tuple(types), self._journal.newest)
        self._begin(webhook)
        return webhook, secret_of(self._key, webhook)

    async def list(self, user_id: int) -> builtins.list[Webhook]:
        """The user's, newest first."""
        return await self._rows.list(user_id)

    async def get(self, user_id: int, webhook_id: int) -> Webhook:
        """One of the user's; WebhookNotFound."""
        return await self._rows.get(user_id, webhook_id)

    async def change(
        self,
        user_id: int,
        webhook_id: int,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """The webhook with these changes; enabled again, it is sent what happens from then on."""
        webhook = await self._rows.get(user_id, webhook_id)
        self._check(url or webhook.url, webhook.types if types is None else types)
        await self._end(webhook.id)
        webhook = await self._rows.get(user_id, webhook_id)
        if url is not None or types is not None:
            webhook = await self._rows.change(
                webhook,
                url=url or webhook.url,
                types=webhook.types if types is None else tuple(types),
            )
        if enabled is False and webhook.disabled_at is None:
            webhook = await self._disable(webhook, "its owner disabled it")
        elif enabled and webhook.disabled_at is not None:
            await self._journal.flush()
            webhook = await self._rows.change(
                webhook,
                position=self._journal.newest,
                failing_since=None,
                disabled_at=None,
                disabled_because=None,
            )
        self._begin(webhook)
        return webhook

    async def rotate(self, user_id: int, webhook_id: int) -> tuple[Webhook, str]:
        """The webhook with another secret, which holds from now on."""
        webhook = await self._rows.get(user_id, webhook_id)
        await self._end(webhook.id)
        webhook = await self._rows.change(webhook, salt=fresh_salt())
        self._begin(webhook)
        return webhook, secret_of(self._key, webhook)

    async def delete(self, user_id: int, webhook_id: int) -> None:
        """Send it nothing more and forget it."""
        webhook = await self._rows.get(user_id, webhook_id)
        await self._end(webhook.id)
        await self._rows.delete(webhook)

    async def test(self, user_id: int, webhook_id: int) -> Delivery:
        """Send it something now, once; what came of it."""
        webhook = await self._rows.get(user_id, webhook_id)
        if webhook.disabled_at is not None:
            raise Conflict(f"webhook {webhook.id} is disabled; enable it first", id=webhook.id)
        message = trial_message(f"test_{secrets.token_hex(8)}", self._clock())
        sending = self._sending.get(webhook.id)
        done = await self._post(webhook, message, Lane() if sending is None else sending.lane)
        if done.stage is not Stage.DELIVERED:
            done = replace(done, stage=Stage.FAILED)
        return await self._rows.delivered(done)

    async def deliveries(
        self, user_id: int, webhook_id: int, *, limit: int, before_id: int | None = None
    ) -> builtins.list[Delivery]:
        """What was sent to it, newest first."""
        webhook = await self._rows.get(user_id, webhook_id)
        return await self._rows.deliveries(webhook.id, limit=limit, before_id=before_id)

    def _check(self, url: str, types: Sequence[str]) -> None:
        problem = problem_of(url)
        if problem is None:
            try:
                problem = self._poster.refusal(Target.of(url))
            except BadDestination as wrong:
                problem = str(wrong)
        if problem is not None:
            raise InvalidRequest("url", problem)
        try:
            kinds_of(types)
        except ValueError as error:
            raise InvalidRequest("types", f"'{error}' is no type of event; see docs/events.md") from error

    # -- sending

    def _begin(self, webhook: Webhook) -> None:
        if webhook.disabled_at is None:
            sending = self._sending[webhook.id] = _Sending()
            self._tasks.start_soon(self._run, webhook, sending, name=f"webhook {webhook.id}")

    async def _end(self, webhook_id: int) -> None:
        sending = self._sending.pop(webhook_id, None)
        if sending is not None:
            sending.scope.cancel()
            await sending.ended.wait()

    async def _run(self, webhook: Webhook, sending: _Sending) -> None:
        try:
            with sending.scope:
                while True:
                    try:
                        return await self._send_all(webhook, sending.lane)
                    except WebhookNotFound:
                        return
                    except VMPoolError:
                        logger.exception("webhook %s waits", webhook.id)
                    await anyio.sleep(AGAIN)
                    webhook = await self._rows.get(webhook.user_id, webhook.id)
        except WebhookNotFound:
            return
        except Exception:  # a defect of ours must not end everybody's
            logger.exception("webhook %s is not sent anything any more", webhook.id)
        finally:
            sending.ended.set()

    async def _send_all(self, webhook: Webhook, lane: Lane) -> None:
        """Each event as it comes, until the webhook is disabled."""
        wanted = Wanted(kinds=kinds_of(webhook.types))
        position = webhook.position
        while webhook.disabled_at is None:
            news = self._journal.news(webhook.user_id)  # before the look, so that none is missed
            try:
                found, position = await self._journal.page(webhook.user_id, webhook.position, wanted)
            except EventsGone:  # it is so far behind that some of them are not kept any more
                logger.warning("webhook %s has missed events", webhook.id)
                gone = await self._journal.gone(webhook.user_id)
                webhook = await self._rows.change(webhook, position=gone)
                continue
            for event in found:
                webhook = await self._deliver(webhook, event.id, message_of(event), lane)
                if webhook.disabled_at is not None:
                    return
            if not found:
                await news.wait()
            webhook = replace(webhook, position=position)

    async def _deliver(self, webhook: Webhook, event_id: int, message: Message, lane: Lane) -> Webhook:
        """Send it until it arrives, or often enough; the webhook as it is then."""
        for attempt, pause in enumerate((*RETRY_AFTER, None), start=1):
            done = await self._post(webhook, message, lane)
            arrived = done.stage is Stage.DELIVERED
            if not arrived and (pause is None or done.status == GONE):
                done = replace(done, stage=Stage.FAILED)
            done = replace(done, event_id=event_id, attempt=attempt)
            await self._rows.delivered(done)
            if arrived:
                return await self._rows.change(webhook, position=event_id, failing_since=None)
            if done.status == GONE:
                return await self._disable(webhook, "its receiver answered 410: gone")
            since = webhook.failing_since or done.at
            if self._clock() - since > PATIENCE:
                return await self._disable(webhook, f"nothing arrived since {since:%Y-%m-%d %H:%M} UTC")
            if webhook.failing_since is None:
                webhook = await self._rows.change(webhook, failing_since=since)
            if pause is not None:
                await anyio.sleep(pause * random.uniform(0.8, 1.2))
        return await self._rows.change(webhook, position=event_id)

    async def _disable(self, webhook: Webhook, because: str) -> Webhook:
        logger.warning("webhook %s of user %s is disabled: %s", webhook.id, webhook.user_id, because)
        return await self._rows.change(webhook, disabled_at=self._clock(), disabled_because=because)

    async def _post(self, webhook: Webhook, message: Message, lane: Lane) -> Delivery:
        """One try, and what came of it."""
        began, at = perf_counter(), self._clock()
        status, problem = None, None
        try:
            headers = message.headers(secret_of(self._key, webhook), at)
            status = await self._poster.post(Target.of(webhook.url), headers, message.body, lane)
            if not 200 <= status < 300:
                problem = f"answered {status}"
        except (NotPosted, BadDestination) as error:
            problem = str(error)
        return Delivery(
            id=0,
            webhook_id=webhook.id,
            event_id=None,
            type=message.type,
            attempt=1,
            stage=Stage.DELIVERED if problem is None else Stage.RETRYING,
            at=at,
            seconds=round(perf_counter() - began, 4),
            status=status,
            problem=problem,
        )


async def key_in(path: Path) -> bytes:
    """The key in this file, which is made, readable by its owner only, where there is none."""

    def work() -> bytes:
        try:
            return bytes.fromhex(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            key = secrets.token_bytes(KEY_BYTES)
            write_private(path, key.hex())
            return key

    return await to_thread.run_sync(work)
