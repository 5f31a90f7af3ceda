"""Many runs of the same work in temporary VMs, as many at once as there are VMs."""

from __future__ import annotations

import secrets
import shlex
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import anyio

from vmpool.client import durations
from vmpool.client._async.handle import AsyncVMHandle
from vmpool.client._async.waiting import apart
from vmpool.client.errors import ClientError, VMNotFound
from vmpool.client.jobs import (
    AT_ONCE,
    ATTEMPTS,
    PROJECT,
    TTL,
    Job,
    JobChange,
    JobResult,
    Told,
    is_crowded,
    is_infrastructure,
    language_of,
    order,
    setup_failed,
    unheard,
    workers,
)
from vmpool.client.languages import SUFFIXES
from vmpool.client.models import Execution
from vmpool.client.options import RunOptions, VMOptions

if TYPE_CHECKING:
    from vmpool.client._async.client import AsyncClient

ROOM_SECONDS = 60.0
"""How long a run without any VM waits for room for its first."""
AGAIN = 1.0
"""Seconds between two tries."""
CLEANUP_SECONDS = 30.0


class AsyncJobs:
    """Runs jobs in VMs made for them and deleted afterwards, whatever happens."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def run(
        self,
        jobs: Iterable[Job],
        *,
        vms: int = AT_ONCE,
        project: str | Path | None = None,
        setup: str | None = None,
        told: Told = unheard,
        **options: Unpack[VMOptions],
    ) -> list[JobResult]:
        """What came of each, in their order.  A job that has no result is tried again in a fresh VM.

        vms: so many at once, at least one for each template.  project: a directory that each VM gets a copy
        of; jobs run in it.  setup: a command that prepares each VM before its first job; where it fails,
        `problem` of the jobs is SetupFailed.  told: hears of each change.  options: as in `create_vm`.
        """
        wanted = list(jobs)
        run = _Run(self._client, wanted, None if project is None else Path(project), setup, told, options)
        async with anyio.create_task_group() as tasks:
            for template, count in workers(wanted, vms).items():
                for _ in range(count):
                    tasks.start_soon(run.work, template)
        return [run.results[place] for place in range(len(wanted))]

    async def over_templates(
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
        jobs = [
            Job(name, name, code, command, language_of(name) if code is not None else None, timeout=timeout)
            for name in templates
        ]
        return await self.run(jobs, vms=vms or len(jobs), project=project, setup=setup, told=told, **options)

    async def map(
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
        path = Path(program)
        language = language or SUFFIXES.get(path.suffix.lower())
        if language is None:
            raise ValueError(f"cannot tell the language of '{path}'; name it")
        code = await apart(lambda: path.read_text(encoding="utf-8"))
        template = options.get("template") or language
        jobs = [
            Job(str(one), template, code, language=language, timeout=timeout, input=Path(one))
            for one in inputs
        ]
        return await self.run(jobs, vms=vms, setup=setup, told=told, **options)

    async def shard(
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
        """A command once for each item (a test file, say), in copies of a project, the longest first.

        The item takes the place of the word `{}`, or comes last.  How long each took is kept in the project's
        `.vmpool-durations.json`.
        """
        template = options.get("template") or "python"
        path = Path(project) / durations.FILE
        known = await apart(lambda: durations.load(path))
        jobs = [
            Job(item, template, command=_with(command, item), timeout=timeout, expected=known.get(item))
            for item in items
        ]
        results = await self.run(jobs, vms=vms, project=project, setup=setup, told=told, **options)
        await apart(lambda: durations.save(path, durations.merged(known, results)))
        return results


class _Run:
    """One run: jobs that wait, by template, and what came of the others."""

    def __init__(
        self,
        client: AsyncClient,
        jobs: list[Job],
        project: Path | None,
        setup: str | None,
        told: Told,
        options: VMOptions,
    ) -> None:
        self._client = client
        self._jobs = jobs
        self._project = project
        self._setup = setup
        self._told = told
        self._options = options
        self._name = f"job-{secrets.token_hex(4)}"
        self._count = 0
        self._vms = 0
        self._attempts = [0] * len(jobs)
        self._waiting: dict[str, deque[int]] = {}
        for place in order(jobs):
            self._waiting.setdefault(jobs[place].template, deque()).append(place)
        self.results: dict[int, JobResult] = {}

    async def work(self, template: str) -> None:
        """Run jobs of this template until none waits, each VM as long as it is good for something."""
        waiting = self._waiting[template]
        began, failures = time.monotonic(), 0
        while waiting:
            try:
                vm = await self._create(template)
            except ClientError as error:
                failures += 1
                if is_crowded(error):
                    if self._vms:
                        return  # those that are there do it
                    hopeless = time.monotonic() - began > ROOM_SECONDS
                else:
                    hopeless = not is_infrastructure(error) or failures >= ATTEMPTS
                if hopeless:
                    self._give_up(waiting, error)
                    return
                await anyio.sleep(AGAIN)
                continue
            self._vms += 1
            try:
                async with vm:
                    while waiting and await self._one(vm, waiting):
                        failures = 0
            except ClientError as error:  # it could not be deleted: its time to live does it
                if not is_infrastructure(error):
                    raise
            finally:
                self._vms -= 1

    async def _create(self, template: str) -> AsyncVMHandle:
        self._count += 1
        options: VMOptions = {"ttl": TTL, "labels": {"made-by": "vm jobs"}, **self._options}
        options["template"] = template
        vm = await self._client.create_vm(f"{self._name}-{self._count}", language_of(template), **options)
        if self._project is not None or self._setup is not None:
            try:
                await self._prepare(vm)
            except BaseException:
                with anyio.CancelScope(shield=True), anyio.move_on_after(CLEANUP_SECONDS):
                    try:
                        await vm.delete()
                    except VMNotFound:
                        pass
                raise
        return vm

    async def _prepare(self, vm: AsyncVMHandle) -> None:
        if self._project is not None:
            await vm.files.upload(self._project, PROJECT)
        if self._setup is None:
            return
        cwd = None if self._project is None else PROJECT
        begun = await vm.begin(command=self._setup, cwd=cwd)  # as long as it takes
        ran = await begun.wait()
        if not ran.ok:
            raise setup_failed(self._setup, ran)

    async def _one(self, vm: AsyncVMHandle, waiting: deque[int]) -> bool:
        """Run the next job; whether the VM is good for another."""
        place = waiting.popleft()
        job = self._jobs[place]
        self._attempts[place] += 1
        self._told(JobChange(place, vm.name))
        began = time.monotonic()
        try:
            execution = await self._execute(vm, place, job)
        except ClientError as error:
            if is_infrastructure(error) and self._attempts[place] < ATTEMPTS:
                waiting.appendleft(place)
            else:
                self._end(place, JobResult(job, None, error, vm.name, self._attempts[place], 0.0))
            return not is_infrastructure(error)
        if execution.state == "lost" and self._attempts[place] < ATTEMPTS:
            waiting.appendleft(place)
            return False
        seconds = round(time.monotonic() - began, 3)
        self._end(place, JobResult(job, execution, None, vm.name, self._attempts[place], seconds))
        return execution.state != "lost"

    async def _execute(self, vm: AsyncVMHandle, place: int, job: Job) -> Execution:
        env, cwd = dict(job.env), None if self._project is None else PROJECT
        if job.input is not None:
            path = f"/home/user/inputs/{place}/{job.input.name}"
            await vm.files.mkdir(f"/home/user/inputs/{place}", parents=True, exist_ok=True)
            await vm.files.upload(job.input, path)
            env["INPUT"] = path
        options: RunOptions = {
            "command": job.command,
            "language": job.language,
            "timeout": job.timeout,
            "env": env or None,
            "cwd": cwd,
        }
        return await vm.execute(job.code, **options)

    def _give_up(self, waiting: deque[int], error: ClientError) -> None:
        while waiting:
            place = waiting.popleft()
            job = self._jobs[place]
            self._end(place, JobResult(job, None, error, None, self._attempts[place], 0.0))

    def _end(self, place: int, result: JobResult) -> None:
        self.results[place] = result
        self._told(JobChange(place, result.vm, result))


def _with(command: Sequence[str], item: str) -> str:
    """A command line with the item in the place of `{}`, or last."""
    words = [item if word == "{}" else word for word in command]
    return shlex.join(words if "{}" in command else [*words, item])
