"""Making every address a container's own, so that its agent is reached by clients that know no proxy.

It takes CAP_NET_ADMIN over the container's network namespace for a moment.  Nothing inside has it; root on
the engine's host does.  Elsewhere, and in a kernel of the container's own (gVisor has no such routes), names
and the proxy still lead to the agent, and only addresses written out as such do not.
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from anyio import to_thread

from vmpool.backends.docker.agent_volume import agent_binary
from vmpool.backends.docker.local import Init, NotLocal, pinned
from vmpool.backends.docker.machines import init_of
from vmpool.errors import BackendFailed

logger = logging.getLogger(__name__)

SECONDS = 10


async def route_every_address(facts: Mapping[str, Any]) -> None:
    """Do it, where it is to be had, in a running container that has no network of the engine's."""
    init = init_of(facts)
    if init is None or facts["HostConfig"]["NetworkMode"] != "none":
        return
    try:
        await to_thread.run_sync(_route, init)
    except NotLocal as why:
        logger.info("container %s has no route for addresses: %s", init.container_id, why)


def _route(init: Init) -> None:
    """Blocking.  NotLocal where the container's namespace is not to be entered from here."""
    with pinned(init) as process:
        try:
            program = agent_binary(os.uname().machine)
            namespace = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
        except (OSError, BackendFailed) as error:
            raise NotLocal(f"its network is not to be entered: {error}") from error
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
    finally:
        os.close(namespace)
    if done.returncode != 0:
        raise NotLocal(done.stderr.decode(errors="replace").strip())
