"""Templates: files that are kept for VMs to start from."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from vmpool.client._async.connection import AsyncConnection
from vmpool.client.models import Snapshot, Template
from vmpool.client.wire import MACHINE, Call, fresh_key, given

PATH = "/api/templates"


def template_path(template: int | str) -> str:
    """The path of one given by id or name."""
    return f"{PATH}/{quote(str(template), safe='')}"


class AsyncTemplates:
    """Your own templates, and those that are shared with everybody.  One is named by its id or its name."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def publish(
        self,
        name: str,
        vm: int | str | None = None,
        *,
        snapshot: Snapshot | int | None = None,
        description: str = "",
    ) -> Template:
        """The files of a VM as they are now, or of a snapshot, as a template that outlives both.

        Give exactly one of vm and snapshot.
        """
        number = snapshot.id if isinstance(snapshot, Snapshot) else snapshot
        body = given(name=name, vm_id=vm, snapshot_id=number, description=description)
        call = Call("POST", PATH, body, idempotency_key=fresh_key(), wait=MACHINE)
        return await self._connection.one(Template, call)

    async def list(self) -> builtins.list[Template]:
        """Yours and those that are shared, newest first."""
        return await self._connection.all(Template, PATH)

    async def get(self, template: int | str) -> Template:
        """One of them: of two of a name your own."""
        return await self._connection.one(Template, Call("GET", template_path(template)))

    async def change(
        self, template: int | str, *, description: str | None = None, shared: bool | None = None
    ) -> Template:
        """Change one of yours; what is not named stays.

        shared: whether everybody may make VMs from it, which takes an administrator.
        """
        body = given(description=description, shared=shared)
        return await self._connection.one(Template, Call("PATCH", template_path(template), body))

    async def delete(self, template: int | str) -> None:
        """VMs that were made from it stay as they are."""
        await self._connection.send(Call("DELETE", template_path(template)))
