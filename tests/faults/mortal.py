"""A server process that dies by SIGKILL at a crash point: what a forked child of `zygote` does with its life.

It opens the state directory an earlier one died on, waits until rows and host agree and checks what came of
the earlier one's verb; then it puts the stage back, and does the verb until it reaches the point it is to
die at."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx

from tests.faults.crash_points import Points
from tests.faults.host_state import MARK, HostState
from tests.faults.watch import Watch, beside

PATIENCE = 40.0
"""Seconds until rows and host must agree."""
SETTINGS: Mapping[str, Any] = {
    "warm_pool": {"maximum": 0},
    "periods": {"reconcile_every": 0.1, "stop_grace": 0.5},
    "log": {"level": "warning", "format": "json"},
}


@dataclass(frozen=True, slots=True)
class Order:
    """One life.  state_dir, backend, settings: whose.  scene: what is played, None for only checking.
    point: where to die; None lives on.  number: of this life.  past: what the one before told.
    """

    state_dir: str
    backend: str
    scene: str | None
    number: int
    point: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    past: dict[str, Any] = field(default_factory=dict)


def tell(**facts: Any) -> None:
    """One line to whoever ordered this life; what was told is known there whatever happens next."""
    os.write(1, json.dumps(facts).encode() + b"\n")


class Site:
    """One server in this process, and calls to its API."""

    tell = staticmethod(tell)

    def __init__(self, order: Order, client: httpx.AsyncClient) -> None:
        self.order = order
        self.client = client
        self.host = HostState(Path(order.state_dir), order.backend)

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> httpx.Response:
        """Any answer."""
        headers = {"Idempotency-Key": key} if key else {}
        return await self.client.request(method, path, json=body, headers=headers)

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        """An answer that has to be good."""
        answer = await self.call(method, path, body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def shell(self, vm: str, command: str) -> str:
        """Run a command that has to succeed; its output."""
        result = await self.ok("POST", f"/api/vms/{vm}/execute", {"command": command})
        assert result["exit_code"] == 0, result
        return str(result["output"])

    async def until(self, holds: Callable[[], Awaitable[object]], what: str) -> None:
        """Wait until it holds."""
        deadline = time.monotonic() + PATIENCE
        while not await holds():
            assert time.monotonic() < deadline, f"never: {what}"
            await anyio.sleep(0.02)

    async def agreed(self, still_running: frozenset[int]) -> None:
        """Wait until rows and host agree."""
        deadline = time.monotonic() + PATIENCE
        while found := await anyio.to_thread.run_sync(
            lambda: self.host.differences(still_running=still_running)
        ):
            assert time.monotonic() < deadline, "rows and host do not agree: " + "; ".join(found)
            await anyio.sleep(0.02)


@asynccontextmanager
async def opened_site(order: Order) -> AsyncIterator[Site]:
    """The server of the order's state directory, in this process."""
    from vmpool import server_log
    from vmpool.api.server import create_app
    from vmpool.app import opened
    from vmpool.settings import Settings
    from vmpool.store.statedir import StateDirectory

    asked = {"state_dir": order.state_dir, "backend": order.backend, **SETTINGS, **order.settings}
    settings = Settings.model_validate(asked)
    server_log.configure(settings.log)
    with StateDirectory(settings.state_dir) as directory:
        async with opened(settings, directory) as services:
            transport = httpx.ASGITransport(create_app(services))
            key = directory.owner_key
            async with httpx.AsyncClient(
                transport=transport,
                base_url="http://pool",
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
            ) as client:
                yield Site(order, client)


def run(order: Order, points: Points) -> int:
    """One life; an exit status."""
    os.environ[MARK] = order.state_dir
    try:
        anyio.run(live, order, points, backend_options={"use_uvloop": True})
    except BaseException as error:
        tell(failure="\n".join(_causes(error)))
        return 1
    return 0


def _causes(error: BaseException) -> list[str]:
    """What went wrong, without the groups around it."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for one in error.exceptions for cause in _causes(one)]
    return ["".join(traceback.format_exception(error))]


async def live(order: Order, points: Points) -> None:
    """One life, from opening the state directory to its end at the point, or to an orderly one."""
    from tests.faults.scenes import SCENES
    from tests.faults.witness import Witness

    watch = Watch(points, order.point)
    async with opened_site(order) as site, anyio.create_task_group() as tasks:
        witness = Witness(site)
        past = order.past
        if past:
            before = SCENES[past["scene"]]
            await site.agreed(before.still_running(site, past) | witness.still_running(past))
            await before.check(site, past)
            await witness.check(past)
            await usable(site)
            tell(checked=True)
        if order.scene is None:
            await clear(site)
            return
        scene = SCENES[order.scene]
        with beside():
            await witness.begin(tasks)
        await scene.prepare(site, tasks)
        tell(prepared=True, scene=order.scene, number=order.number)
        watch.begin()
        await scene.act(site)
        await watch.quiet(scene.quiet)
        watch.end()
        functions = {points.function_of[point].name: points.function_of[point] for point in watch.awaits}
        listed = {point for one in functions.values() for point in one.points if point not in one.on_failure}
        tell(
            lived=True,
            reached=list(watch.reached),
            listed=sorted(listed | watch.awaits),
            known=sorted(points.function_of),
        )
        tasks.cancel_scope.cancel()


async def usable(site: Site) -> None:
    """Every VM does what a VM is for."""
    for vm in await site.ok("GET", "/api/vms"):
        if vm["status"] == "running":
            assert await site.shell(vm["name"], "echo usable") == "usable\n"


async def clear(site: Site) -> None:
    """Delete every template and VM; nothing of them may be left."""
    for template in await site.ok("GET", "/api/templates"):
        await site.ok("DELETE", f"/api/templates/{template['id']}")
    for vm in await site.ok("GET", "/api/vms"):
        await site.ok("DELETE", f"/api/vms/{vm['id']}")
    await site.agreed(frozenset())
    tell(cleared=True)
