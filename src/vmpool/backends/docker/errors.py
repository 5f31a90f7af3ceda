"""The one place where the engine's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiodocker.exceptions import DockerError

from vmpool.errors import BackendFailed, BackendUnreachable

NO_CONNECTION = 900
"""aiodocker's own status for "the engine could not be reached"."""

REMEDY = (
    "start Docker (`systemctl start docker`, or `scripts/docker-engine`), see that this user may open its "
    "socket (group `docker`), or set DOCKER_HOST"
)


@contextmanager
def docker_errors(doing: str) -> Iterator[None]:
    """Translate what aiodocker and its connection raise; `doing` completes "could not ..."."""
    try:
        yield
    except DockerError as error:
        if error.status == NO_CONNECTION:
            raise BackendUnreachable(f"no Docker engine answers: {error.message}; {REMEDY}") from error
        raise BackendFailed(f"could not {doing}: {error.message}", status=error.status) from error
    except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise BackendUnreachable(f"the Docker engine was lost while trying to {doing}: {reason}") from error


def is_missing(error: DockerError) -> bool:
    """The thing asked for is not there."""
    return error.status == 404


def is_conflict(error: DockerError) -> bool:
    """The name is taken, or the thing is in use or being removed; Podman says so only in words."""
    return error.status == 409 or (error.status == 500 and "in use" in error.message)
