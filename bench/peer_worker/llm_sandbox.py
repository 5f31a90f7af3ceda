"""llm-sandbox, three ways.  Its environment set-up is skipped: it costs seconds and is not needed."""

from __future__ import annotations

from typing import Any

from bench.peer_worker.base import Peer, Sandbox, threaded


class _Session(Peer):
    distribution = "llm-sandbox"

    def session(self) -> Any:
        """A session that is not open yet."""
        raise NotImplementedError

    async def make(self) -> Sandbox:
        def open_one() -> Any:
            session = self.session()
            session.open()
            return session

        return await threaded(open_one)

    async def run(self, sandbox: Sandbox, code: str) -> str:
        output: str = (await threaded(lambda: sandbox.run(code))).stdout
        return output

    async def destroy(self, sandbox: Sandbox) -> None:
        await threaded(sandbox.close)


class LLMSandboxDocker(_Session):
    """A container for each session."""

    def session(self) -> Any:
        from llm_sandbox import SandboxSession

        return SandboxSession(
            lang="python", image=self.image, keep_template=True, skip_environment_setup=True
        )


class LLMSandboxPool(_Session):
    """Containers made beforehand and handed from one session to the next."""

    def __init__(self, image: str) -> None:
        super().__init__(image)
        self._pool: Any = None

    async def make_ready(self, count: int) -> None:
        """A pool with `count` more containers than are in use, so that a create is a warm one."""
        from llm_sandbox.pool import PoolConfig, create_pool_manager

        if self._pool is None:
            config = PoolConfig(min_pool_size=count, max_pool_size=64)
            self._pool = await threaded(
                lambda: create_pool_manager(
                    backend="docker",
                    config=config,
                    lang="python",
                    image=self.image,
                    skip_environment_setup=True,
                )
            )

    def session(self) -> Any:
        from llm_sandbox import SandboxSession

        if self._pool is None:
            raise RuntimeError("the pool is not filled yet")
        return SandboxSession(lang="python", pool=self._pool)


class LLMSandboxBubblewrap(_Session):
    """A bubblewrap process for each command, in a directory for each session."""

    def session(self) -> Any:
        from llm_sandbox import SandboxSession

        return SandboxSession(backend="bubblewrap", lang="python", skip_environment_setup=True)
