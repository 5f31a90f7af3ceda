"""The whole examination, in order."""

from __future__ import annotations

import anyio
from anyio import to_thread

from vmpool.doctor.kernel import look_at_kernel
from vmpool.doctor.report import Report
from vmpool.doctor.ways import look_at_bubblewrap, look_at_docker
from vmpool.settings import Settings


def examine(settings: Settings) -> Report:
    """Look at everything and try every way; some seconds.  Leaves nothing behind, and needs no server."""
    return anyio.run(_examine, settings)


async def _examine(settings: Settings) -> Report:
    host = await to_thread.run_sync(lambda: tuple(look_at_kernel()))
    bubblewrap = await look_at_bubblewrap(settings)
    engine, docker = await look_at_docker(settings)
    return Report(host=(*host, *engine), ways=(*bubblewrap, *docker))
