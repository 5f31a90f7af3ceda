"""Ending a container's processes.

The engine's own way starts the runtime's program to send one signal.  Root on the host sends it to process 1
itself, whose end is the end of all, and waits for the engine to notice: a third less time.
"""

from __future__ import annotations

import os
import signal

import anyio
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from anyio import to_thread

from vmpool.backends.docker.errors import is_conflict, is_missing
from vmpool.backends.docker.local import Init, NotLocal, pinned

NOTICE_SECONDS = 5
"""How long the engine may take to notice; a container frozen by somebody else ends in the engine's way."""


async def end(container: DockerContainer, init: Init, isolation: str) -> None:
    """Return once the engine says that the container does not run."""
    if isolation == "container":  # elsewhere process 1 is the guest's kernel, which the runtime ends
        try:
            await to_thread.run_sync(_kill, init)
            with anyio.move_on_after(NOTICE_SECONDS):
                await container.wait(timeout=2 * NOTICE_SECONDS)
                return
        except NotLocal:
            pass
    await container.stop(t=0)


async def end_and_forget(container: DockerContainer, init: Init, isolation: str) -> None:
    """The same for one that is to be removed, and may be gone already."""
    try:
        await end(container, init, isolation)
    except DockerError as error:
        if not (is_missing(error) or is_conflict(error)):
            raise


def _kill(init: Init) -> None:
    with pinned(init):
        try:
            descriptor = os.pidfd_open(init.pid)
        except ProcessLookupError:
            return
        except OSError as error:
            raise NotLocal(f"process {init.pid} is not to be held: {error.strerror}") from error
        try:
            # The number was the container's before the descriptor was opened; it must be so after, too.
            with pinned(init):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise NotLocal(f"process {init.pid} is not ours to end") from error
        finally:
            os.close(descriptor)
