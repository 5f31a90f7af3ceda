"""Secrets: set and forgotten; no call answers a value."""

from __future__ import annotations

from collections.abc import Iterable

from vmpool.client._async.connection import AsyncConnection
from vmpool.client.models import Secret
from vmpool.client.wire import Call

PATH = "/api/secrets"


class AsyncSecrets:
    """Your secrets, which executions get that name them."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def set(
        self, name: str, value: str, vm: int | str | None = None, hosts: Iterable[str] = ()
    ) -> Secret:
        """Keep a value under this name.  vm: for this one only.

        hosts: it never enters a VM; `{{NAME}}` in headers of plain HTTP requests that a VM with network
        `filtered` sends to one of these is replaced on the way.
        """
        body = {"value": value, "hosts": list(hosts)}
        call = Call("PUT", f"{PATH}/{name}", body, params=_of(vm))
        return await self._connection.one(Secret, call)

    async def list(self) -> list[Secret]:
        """Yours, newest first, without their values."""
        return await self._connection.all(Secret, PATH)

    async def delete(self, name: str, vm: int | str | None = None) -> None:
        """Forget one."""
        await self._connection.send(Call("DELETE", f"{PATH}/{name}", params=_of(vm)))


def _of(vm: int | str | None) -> dict[str, str | int]:
    return {} if vm is None else {"vm": vm}
