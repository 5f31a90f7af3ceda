"""A stream to the agent through the engine's own exec, for engines and runtimes that share no socket.

The engine starts `vmpool-agent connect` inside the container, which joins its standard input and output to
the agent's socket.  It says "connected" on standard error as soon as it is: that is how dialling knows.
"""

from __future__ import annotations

import aiohttp
import anyio
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.stream import Stream
from anyio.abc import ByteStream

from vmpool.backends.docker.errors import NO_CONNECTION, docker_errors
from vmpool.backends.docker.spec import AGENT, SOCKET, USER
from vmpool.errors import AgentUnreachable

_STDERR = 2
CONNECTED = b"connected"


class ExecStream(ByteStream):
    """The two directions of one `agent connect`; binary safe, since no terminal is involved."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = b""
        self._closed = False
        self.complaint = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._left:
            while True:
                if self._closed:
                    raise anyio.ClosedResourceError
                stream, data = await self._next()
                if stream != _STDERR:
                    break
                self.complaint = (self.complaint + data)[-1024:]
            self._left = data
        taken, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return taken

    async def connected(self) -> bool:
        """Wait for the stub to reach the agent's socket; False if it ended instead."""
        try:
            while CONNECTED not in self.complaint:
                stream, data = await self._next()
                if stream != _STDERR:
                    self._left += data
                else:
                    self.complaint += data
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return False
        self.complaint = b""
        return True

    async def _next(self) -> tuple[int, bytes]:
        try:
            message = await self._stream.read_out()
        except (OSError, aiohttp.ClientError, RuntimeError) as error:
            raise anyio.BrokenResourceError from error
        if message is None:
            raise anyio.EndOfStream
        return message.stream, message.data

    async def send(self, item: bytes) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            await self._stream.write_in(item)
        except (OSError, RuntimeError, AssertionError) as error:
            # aiodocker asserts that its connection is still there.
            raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """The engine's stream has no half-closed state: this closes it."""
        await self.aclose()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._stream.close()


async def dial_stub(container: DockerContainer) -> ExecStream:
    """Start a stub and wait until it has reached the agent.

    AgentUnreachable if it cannot, or if the container does not run; BackendUnreachable.
    """
    with docker_errors("reach the agent through the engine"):
        try:
            return await _started(container)
        except DockerError as error:
            if error.status == NO_CONNECTION:
                raise
            raise AgentUnreachable(f"the engine starts no stub: {error.message}") from error


async def _started(container: DockerContainer) -> ExecStream:
    command = await container.exec((AGENT, "connect", SOCKET), stdin=True, user=USER, workdir="/")
    stream = ExecStream(command.start(detach=False))
    try:
        if await stream.connected():
            return stream
    except BaseException:
        with anyio.CancelScope(shield=True):
            await stream.aclose()
        raise
    await stream.aclose()
    complaint = stream.complaint.decode(errors="replace").strip()
    raise AgentUnreachable(f"the stub could not reach the agent{': ' + complaint if complaint else ''}")
