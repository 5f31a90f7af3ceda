"""smolagents' docker executor: a Jupyter kernel behind a gateway in each container."""

from __future__ import annotations

import socket

from bench.peer_worker.base import Peer, Sandbox, threaded


class Smolagents(Peer):
    """One executor a sandbox."""

    distribution = "smolagents"

    async def make(self) -> Sandbox:
        from smolagents.monitoring import AgentLogger, LogLevel
        from smolagents.remote_executors import DockerExecutor

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        return await threaded(
            lambda: DockerExecutor(
                [], AgentLogger(level=LogLevel.OFF), port=port, image_name=self.image, build_new_image=False
            )
        )

    async def run(self, sandbox: Sandbox, code: str) -> str:
        output: str = (await threaded(lambda: sandbox.run_code_raise_errors(code))).logs
        return output

    async def destroy(self, sandbox: Sandbox) -> None:
        await threaded(sandbox.cleanup)
