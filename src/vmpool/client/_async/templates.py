"""Templates: files that are kept for VMs to start from."""

from __future__ import annotations

import builtins
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Unpack
from urllib.parse import quote

import httpx

from vmpool.client._async.connection import AsyncConnection
from vmpool.client._async.waiting import sleep
from vmpool.client.errors import ClientError
from vmpool.client.models import BuildOutput, Snapshot, Template, TemplateBuild
from vmpool.client.options import BuildOptions
from vmpool.client.sse import Decoder
from vmpool.client.streaming import PATIENCE, PAUSE, passes
from vmpool.client.wire import MACHINE, Call, data_of, fresh_key, given, value

PATH = "/api/templates"
BUILDS = "/api/template-builds"


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

    # --- built step by step ---

    async def build(
        self, name: str, base: str, steps: Sequence[Mapping[str, Any]], **options: Unpack[BuildOptions]
    ) -> TemplateBuild:
        """Begin to build a template in a VM of its own; `follow` tells how it goes, `wait` how it ended.

        base: the template it begins with.  steps: each `{"packages": [...]}`, `{"files": {path: text}}` or
        `{"run": command}`.  Steps that an earlier build began with are not done again.
        """
        body = {"from": base, "steps": [dict(step) for step in steps], **given(name=name, **options)}
        call = Call("POST", PATH, body, idempotency_key=fresh_key(), wait=MACHINE)
        return await self._connection.one(TemplateBuild, call)

    async def builds(self) -> builtins.list[TemplateBuild]:
        """Yours, newest first: those under way, and the last that ended."""
        return await self._connection.all(TemplateBuild, BUILDS)

    async def get_build(self, build: TemplateBuild | int) -> TemplateBuild:
        """One of them, as it is now."""
        return await self._connection.one(TemplateBuild, Call("GET", f"{BUILDS}/{_number(build)}"))

    async def cancel_build(self, build: TemplateBuild | int) -> TemplateBuild:
        """End it; BuildEnded where it has ended."""
        call = Call("POST", f"{BUILDS}/{_number(build)}/cancel", wait=MACHINE)
        return await self._connection.one(TemplateBuild, call)

    async def build_log(self, build: TemplateBuild | int) -> str:
        """All it has written so far."""
        answer = await self._connection.send(Call("GET", f"{BUILDS}/{_number(build)}/log"))
        return answer.text

    async def follow(
        self, build: TemplateBuild | int, *, offset: int = 0, patience: float = PATIENCE
    ) -> AsyncGenerator[str, None]:
        """What it writes, from `offset` bytes on, until it has ended.

        patience: seconds a stream that was cut is asked for again; then ServerUnreachable.
        """
        position = str(offset)
        deadline = time.monotonic() + patience
        while True:
            decoder = Decoder()
            try:
                path = f"{BUILDS}/{_number(build)}/log"
                call = Call("GET", path, extra={"Last-Event-ID": position}, wait=None)
                async with self._connection.stream(call) as answer:
                    async for chunk in answer.aiter_bytes():
                        deadline = time.monotonic() + patience
                        for event in decoder.feed(chunk):
                            if event.name == "end":
                                return
                            yield value(BuildOutput, data_of(event)).text
                        position = decoder.last_id or position
                    if time.monotonic() > deadline:
                        raise httpx.RemoteProtocolError("the server ends every stream of the build")
            except ClientError as error:
                if not passes(error) or time.monotonic() > deadline:
                    raise
            await sleep(PAUSE)

    async def wait(self, build: TemplateBuild | int) -> TemplateBuild:
        """Until it has ended; how."""
        async for _ in self.follow(build):
            pass
        return await self.get_build(build)


def _number(build: TemplateBuild | int) -> int:
    return build if isinstance(build, int) else build.id
