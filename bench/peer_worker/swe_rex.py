"""SWE-ReX's docker deployment, by its `execute` (a session costs eight times that)."""

from __future__ import annotations

import asyncio
import logging

from bench.peer_worker.base import Peer, Sandbox

PYTHON3 = "/usr/bin/python3"


class SWEReX(Peer):
    """One deployment a sandbox."""

    distribution = "swe-rex"

    def __init__(self, image: str) -> None:
        super().__init__(image)
        logging.disable(logging.CRITICAL)

    async def make(self) -> Sandbox:
        from swerex.deployment.docker import DockerDeployment

        deployment = DockerDeployment(image=self.image, pull="never", startup_timeout=30)
        await deployment.start()
        return deployment

    async def run(self, sandbox: Sandbox, code: str) -> str:
        from swerex.runtime.abstract import Command

        answer = await sandbox.runtime.execute(Command(command=[PYTHON3, "-c", code], timeout=120))
        output: str = answer.stdout
        return output

    async def destroy(self, sandbox: Sandbox) -> None:
        await asyncio.shield(sandbox.stop())
