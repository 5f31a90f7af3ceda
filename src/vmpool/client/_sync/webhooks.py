"""Where events are sent."""

from __future__ import annotations

import builtins
from collections.abc import Iterable

from vmpool.client._sync.connection import Connection
from vmpool.client.models import Delivery, NewWebhook, Webhook
from vmpool.client.wire import Call, given

PATH = "/api/webhooks"


class Webhooks:
    """Your webhooks: URLs to which the server POSTs events, signed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, url: str, types: Iterable[str] = ()) -> NewWebhook:
        """Have what happens from now on sent to `url`; the secret is in this answer only.

        types: of these types or families (`vm`, `execution`, `snapshot`) only.
        """
        call = Call("POST", PATH, {"url": url, "types": list(types)})
        return self._connection.one(NewWebhook, call)

    def list(self) -> builtins.list[Webhook]:
        """All of yours, newest first."""
        return self._connection.all(Webhook, PATH)

    def get(self, webhook_id: int) -> Webhook:
        """One of them."""
        return self._connection.one(Webhook, Call("GET", f"{PATH}/{webhook_id}"))

    def change(
        self,
        webhook_id: int,
        *,
        url: str | None = None,
        types: Iterable[str] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change one; what is not named stays.  Enabled again, it is sent what happens from then on."""
        body = given(url=url, types=None if types is None else list(types), enabled=enabled)
        return self._connection.one(Webhook, Call("PATCH", f"{PATH}/{webhook_id}", body))

    def delete(self, webhook_id: int) -> None:
        """Send it nothing more."""
        self._connection.send(Call("DELETE", f"{PATH}/{webhook_id}"))

    def rotate(self, webhook_id: int) -> NewWebhook:
        """Another secret for it, which holds at once."""
        return self._connection.one(NewWebhook, Call("POST", f"{PATH}/{webhook_id}/rotate"))

    def test(self, webhook_id: int) -> Delivery:
        """Send it something now, once; what came of it."""
        return self._connection.one(Delivery, Call("POST", f"{PATH}/{webhook_id}/test"))

    def deliveries(self, webhook_id: int, limit: int = 100) -> builtins.list[Delivery]:
        """What was sent to it, newest first; at most `limit`."""
        return self._connection.all(Delivery, f"{PATH}/{webhook_id}/deliveries", limit)
