"""A pool on a real backend, reached as a user reaches it: a server process and the SDK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import docker_engine
from tests.server_process import server
from vmpool import Client


@dataclass(frozen=True)
class Pool:
    """backend: its name.  client: the owner's.  server_pid: the server's process."""

    backend: str
    client: Client
    server_pid: int


@contextmanager
def running_pool(backend: str, directory: Path) -> Iterator[Pool]:
    """A server on `backend`; its VMs are deleted at the end."""
    with (
        server(directory / "state", directory / "log", BACKEND=backend) as process,
        Client(process.url, process.key) as client,
    ):
        pool = Pool(backend, client, process.process.pid)
        try:
            yield pool
        finally:
            delete_vms(pool)


def delete_vms(pool: Pool) -> None:
    """Delete every VM of the pool's owner."""
    for vm in pool.client.list_vms():
        vm.delete()


def why_missing(backend: str) -> str | None:
    """Why this host has no such backend; None where it has."""
    if backend != "docker":
        return None  # bubblewrap comes with the package: a host that cannot is a failure to look at
    return docker_engine.why_missing()
