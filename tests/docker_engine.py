"""Whether this host has a Docker engine with the project's images."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio

from vmpool.backends.docker import DockerBackend
from vmpool.errors import VMPoolError


def why_missing() -> str | None:
    """Why the docker backend cannot be tried here; None where it can."""

    async def look(directory: Path) -> tuple[str, ...]:
        async with DockerBackend(directory, pool_id="probe") as backend:
            return (await backend.describe()).templates

    with tempfile.TemporaryDirectory(prefix="vmpool-probe-") as directory:
        try:
            templates = anyio.run(look, Path(directory))
        except VMPoolError as error:
            return error.message
    return None if templates else "the engine has no image of ours; `vm images build` makes them"
