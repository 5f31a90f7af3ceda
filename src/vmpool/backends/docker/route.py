"""Making every address a container's own, so that its agent is reached by clients that know no proxy.

It takes CAP_NET_ADMIN over the container's network namespace for a moment, which nothing inside has.  Root on
the engine's host has it; elsewhere the engine's own exec gives it to one run of the agent's program, which
the guest can neither replace nor trace.  A kernel that is not the host's (gVisor's) has no such routes.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from anyio import move_on_after, to_thread

from vmpool.backends.docker.agent_volume import agent_binary
from vmpool.backends.docker.errors import NO_CONNECTION
from vmpool.backends.docker.local import Init, NotLocal, pinned
from vmpool.backends.docker.machines import init_of
from vmpool.backends.docker.spec import AGENT
from vmpool.errors import BackendFailed

SECONDS = 10


async def route_every_address(container: DockerContainer, facts: Mapping[str, Any]) -> None:
    """Do it in a running container that shares the host's kernel and has no network of the engine's.

    Where it is not to be had nothing fails: names and the proxy still lead to the agent.
    """
    init = init_of(facts)
    if init is None or facts["HostConfig"]["NetworkMode"] != "none":
        return
    try:
        await to_thread.run_sync(_from_here, init)
    except NotLocal:
        await _by_engine(container)


def _from_here(init: Init) -> None:
    """Blocking.  NotLocal where the container's namespace is not to be entered."""
    try:
        program = agent_binary(os.uname().machine)
    except BackendFailed as error:
        raise NotLocal(error.message) from error
    with pinned(init) as process:
        try:
            namespace = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
        except OSError as error:
            raise NotLocal(f"its network is not to be seen: {error.strerror}") from error
    try:
        _run(program, namespace)
    finally:
        os.close(namespace)


def _run(program: Path, namespace: int) -> None:
    try:
        done = subprocess.run(
            (program, "route", f"/proc/self/fd/{namespace}"),
            pass_fds=(namespace,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotLocal(f"the agent's program does not run here: {error}") from error
    if done.returncode != 0:
        raise NotLocal(done.stderr.decode(errors="replace").strip())


async def _by_engine(container: DockerContainer) -> None:
    try:
        with move_on_after(SECONDS):
            command = await container.exec((AGENT, "route"), user="0", privileged=True, workdir="/")
            async with command.start(detach=False) as stream:
                while await stream.read_out() is not None:
                    pass
    except DockerError as error:
        if error.status == NO_CONNECTION:
            raise
