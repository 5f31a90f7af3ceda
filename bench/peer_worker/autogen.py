"""autogen-ext's docker code executor."""

from __future__ import annotations

from itertools import count

from bench.peer_worker.base import Peer, Sandbox


class Autogen(Peer):
    """One executor a sandbox."""

    distribution = "autogen-ext"

    def __init__(self, image: str) -> None:
        super().__init__(image)
        self._numbers = count()

    async def make(self) -> Sandbox:
        from autogen_ext.code_executors.docker import DockerCommandLineCodeExecutor

        executor = DockerCommandLineCodeExecutor(image=self.image, delete_tmp_files=True)
        await executor.start()
        return executor

    async def run(self, sandbox: Sandbox, code: str) -> str:
        from autogen_core import CancellationToken
        from autogen_core.code_executor import CodeBlock

        # The same code twice at once shares one file and comes back empty; different codes do not.
        block = CodeBlock(code=f"{code}\n# {next(self._numbers)}", language="python")
        output: str = (await sandbox.execute_code_blocks([block], CancellationToken())).output
        return output

    async def destroy(self, sandbox: Sandbox) -> None:
        await sandbox.stop()
