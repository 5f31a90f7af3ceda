"""What changed, and what changes: a list, and a stream that goes on where it was cut."""

from __future__ import annotations

import builtins
import time
from collections.abc import Generator, Iterable

import httpx

from vmpool.client._sync.connection import Connection
from vmpool.client._sync.waiting import sleep
from vmpool.client.errors import ClientError
from vmpool.client.models import Event
from vmpool.client.sse import Decoder
from vmpool.client.streaming import PATIENCE, PAUSE, passes
from vmpool.client.wire import Call, data_of, value


class Events:
    """Events of one user's VMs, executions and snapshots."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self, *, vm: int | str | None = None, types: Iterable[str] = (), limit: int = 100
    ) -> builtins.list[Event]:
        """What happened, newest first; at most `limit`.

        vm: of this one only.  types: of these types or families (`vm`, `execution`, `snapshot`) only.
        """
        return self._connection.all(Event, "/api/events", limit, **_narrowed(vm, types))

    def follow(
        self,
        *,
        after: int | None = None,
        vm: int | str | None = None,
        types: Iterable[str] = (),
        patience: float = PATIENCE,
    ) -> Generator[Event, None, None]:
        """What happens, in order, for ever.

        after: go on after the event of this number; 0: from the oldest that is kept; default: from now on.
        patience: seconds a stream that was cut is asked for again, so that a server's restart is not felt;
        then ServerUnreachable.  Raises EventsGone where what followed is not kept any more: look at
        everything once, and follow from now on.

        Put `contextlib.closing` around it where you leave the loop early.
        """
        narrowed = {"follow": "true", **_narrowed(vm, types)}
        position = None if after is None else str(after)
        deadline = time.monotonic() + patience
        while True:
            asked = narrowed if position is None else {**narrowed, "after": position}
            decoder = Decoder()
            try:
                call = Call("GET", "/api/events", params=asked, wait=None)
                with self._connection.stream(call) as answer:
                    for chunk in answer.iter_bytes():
                        deadline = time.monotonic() + patience
                        for event in decoder.feed(chunk):
                            yield value(Event, data_of(event))
                        position = decoder.last_id or position
                    if time.monotonic() > deadline:
                        raise httpx.RemoteProtocolError("the server ends every stream of events")
            except ClientError as error:
                if not passes(error) or time.monotonic() > deadline:
                    raise
            sleep(PAUSE)


def _narrowed(vm: int | str | None, types: Iterable[str]) -> dict[str, str]:
    found = {} if vm is None else {"vm": str(vm)}
    named = ",".join(types)
    return {**found, "type": named} if named else found
