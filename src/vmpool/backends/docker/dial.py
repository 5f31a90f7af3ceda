"""Which way leads to a container's agent, and waiting until one does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
from aiodocker.containers import DockerContainer
from anyio.abc import ByteStream

from vmpool.backends.docker.local import Init, NoSocket, NotLocal, dial_local, protect_socket
from vmpool.backends.docker.machines import init_of
from vmpool.backends.docker.stub import dial_stub
from vmpool.errors import AgentUnreachable, BackendFailed

READY_SECONDS = 30
"""How long an agent may take from the container's start until it can be reached."""
_SHARED_KERNEL = "container"
"""The isolation whose guests' files are to be seen in /proc."""


async def dial_agent(container: DockerContainer, facts: Mapping[str, Any], isolation: str) -> ByteStream:
    """A stream to the agent of a running container; AgentUnreachable."""
    init = init_of(facts)
    if init is None:
        raise AgentUnreachable("the VM is not running")
    if isolation == _SHARED_KERNEL:
        try:
            return await dial_local(init)
        except NotLocal:
            pass
        except NoSocket as error:
            raise AgentUnreachable(f"the agent cannot be reached: {error}") from error
    return await dial_stub(container)


async def wait_for_agent(container: DockerContainer, isolation: str) -> dict[str, Any]:
    """The engine's answer about the container once its agent can be dialled.

    BackendFailed if it ended or never came.
    """
    pause, last = 0.001, "nothing was tried"
    with anyio.move_on_after(READY_SECONDS):
        while True:
            facts = await container.show()
            init = init_of(facts)
            if init is None:
                state = facts["State"]
                raise BackendFailed(
                    f"the VM ended while it started: status {state.get('ExitCode')} {state.get('Error', '')}"
                )
            try:
                stream = await _dial_and_protect(container, facts, init, isolation)
            except AgentUnreachable as error:
                last = error.message
            else:
                await stream.aclose()
                return facts
            await anyio.sleep(pause)
            pause = min(pause * 2, 0.1)
    raise BackendFailed(f"the agent did not answer within {READY_SECONDS} s: {last}")


async def _dial_and_protect(
    container: DockerContainer, facts: Mapping[str, Any], init: Init, isolation: str
) -> ByteStream:
    stream = await dial_agent(container, facts, isolation)
    if isolation == _SHARED_KERNEL:
        try:
            await protect_socket(init)
        except (NotLocal, NoSocket):
            pass  # reached by a stub: the directory is out of our sight, and stays the guest's
    return stream
