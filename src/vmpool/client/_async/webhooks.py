"""Where events are sent."""

from __future__ import annotations

import builtins
from collections.abc import Iterable

from vmpool.client._async.connection import AsyncConnection
from vmpool.client.models import Delivery, NewWebhook, Webhook
from vmpool.client.wire import Call, given

PATH = "/api/webhooks"


class AsyncWebhooks:
    """Your webhooks: URLs to which the server POSTs events, signed."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def create(self, url: str, types: Iterable[str] = ()) -> NewWebhook:
        """Have what happens from now on sent to `url`; the secret is in this answer only.

        types: of these types or families (`vm`, `execution`, `snapshot`) only.
        """
        call = Call("POST", PATH, {"url": url, "types": list(types)})
        return await self._connection.one(NewWebhook, call)

    async def list(self) -> builtins.list[Webhook]:
        """All of yours, newest first."""
        return await self._connection.all(Webhook, PATH)

    async def get(self, webhook_id: int) -> Webhook:
        """One of them."""
        return await self._connection.one(Webhook, Call("GET", f"{PATH}/{webhook_id}"))

    async def change(
        self,
        webhook_id: int,
        *,
        url: str | None = None,
        types: Iterable[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change one; what is not named stays.  Enabled again, it is sent what happens from then on."""
        body = given(url=url, types=None if types is None else list(types), enabled=enabled)
        return await self._connection.one(Webhook, Call("PATCH", f"{PATH}/{webhook_id}", body))

    async def delete(self, webhook_id: int) -> None:
        """Send it nothing more."""
        await self._connection.send(Call("DELETE", f"{PATH}/{webhook_id}"))

    async def rotate(self, webhook_id: int) -> NewWebhook:
        """Another secret for it, which holds at once."""
        return await self._connection.one(NewWebhook, Call("POST", f"{PATH}/{webhook_id}/rotate"))

    async def test(self, webhook_id: int) -> Delivery:
        """Send it something now, once; what came of it."""
        return await self._connection.one(Delivery, Call("POST", f"{PATH}/{webhook_id}/test"))

    async def deliveries(self, webhook_id: int, limit: int = 100) -> builtins.list[Delivery]:
        """What was sent to it, newest first; at most `limit`."""
        return await self._connection.all(Delivery, f"{PATH}/{webhook_id}/deliveries", limit)
