"""The same for threads, and written by hand: jobs run at once, in an event loop of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Unpack

from vmpool.client.jobs import AT_ONCE, Job, JobResult, Told, unheard
from vmpool.client.local import Address
from vmpool.client.options import VMOptions

if TYPE_CHECKING:
    from vmpool.client._async.jobs import AsyncJobs
    from vmpool.client._sync.client import Client

T = TypeVar("T")


class Jobs:
    """Runs jobs in VMs made for them and deleted afterwards, whatever happens.

    Every method is that of `AsyncJobs`; `told` is called in a thread of its own.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(
        self,
        jobs: Iterable[Job],
        *,
        vms: int = AT_ONCE,
        project: str | Path | None = None,
        setup: str | None = None,
        told: Told = unheard,
        **options: Unpack[VMOptions],
    ) -> list[JobResult]:
        """What came of each, in their order."""
        return self._done(
            lambda asked: asked.run(jobs, vms=vms, project=project, setup=setup, told=told, **options)
        )

    def over_templates(
        self,
        templates: Sequence[str],
        code: str | None = None,
        *,
        command: str | None = None,
        timeout: float | None = None,
        vms: int | None = None,
        project: str | Path | None = None,
        setup: str | None = None,
        told: Told = unheard,
        **options: Unpack[VMOptions],
    ) -> list[JobResult]:
        """The same code or command once in a VM of each template."""
        return self._done(
            lambda asked: asked.over_templates(
                templates,
                code,
                command=command,
                timeout=timeout,
                vms=vms,
                project=project,
                setup=setup,
                told=told,
                **options,
            )
        )

    def map(
        self,
        program: str | Path,
        inputs: Sequence[str | Path],
        *,
        language: str | None = None,
        timeout: float | None = None,
        vms: int = AT_ONCE,
        setup: str | None = None,
        told: Told = unheard,
        **options: Unpack[VMOptions],
    ) -> list[JobResult]:
        """A program file once for each input file, whose path in the VM it finds in the variable `INPUT`."""
        return self._done(
            lambda asked: asked.map(
                program,
                inputs,
                language=language,
                timeout=timeout,
                vms=vms,
                setup=setup,
                told=told,
                **options,
            )
        )

    def shard(
        self,
        command: Sequence[str],
        items: Sequence[str],
        *,
        timeout: float | None = None,
        vms: int = AT_ONCE,
        project: str | Path = ".",
        setup: str | None = None,
        told: Told = unheard,
        **options: Unpack[VMOptions],
    ) -> list[JobResult]:
        """A command once for each item, in copies of a project, the longest first."""
        return self._done(
            lambda asked: asked.shard(
                command,
                items,
                timeout=timeout,
                vms=vms,
                project=project,
                setup=setup,
                told=told,
                **options,
            )
        )

    def _done(self, work: Callable[[AsyncJobs], Awaitable[T]]) -> T:
        from anyio.from_thread import start_blocking_portal

        address = self._client.address()
        with start_blocking_portal() as portal:
            doing = portal.start_task_soon(partial(_do, address, work))
            try:
                return doing.result()
            except BaseException:  # Ctrl-C in this thread: the VMs are deleted before it goes on
                doing.cancel()
                raise


async def _do(address: Address, work: Callable[[AsyncJobs], Awaitable[T]]) -> T:
    from vmpool.client._async.client import AsyncClient

    async with AsyncClient(address.url, address.api_key, ca=address.ca or address.certificate) as client:
        return await work(client.jobs)
