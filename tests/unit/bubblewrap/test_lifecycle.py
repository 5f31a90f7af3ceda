"""Machines across servers, crashes and stops: files stay, processes stay, nothing is left."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from vmpool.backends.base import MachineKey, MachineSpec, MachineState
from vmpool.backends.bubblewrap import BubblewrapBackend, launching, processes
from vmpool.backends.bubblewrap.host import Grade
from vmpool.errors import AgentUnreachable, BackendFailed, BackendUnreachable, TemplateNotFound, Unsupported

from .inside import shell

pytestmark = pytest.mark.anyio
KEY = MachineKey(3)
SPEC = MachineSpec("box", "bash")


async def test_files_stay_when_it_stops(backend: BubblewrapBackend) -> None:
    await backend.create(KEY, SPEC)
    await shell(
        backend, KEY, "echo kept > ~/file; chmod 000 ~/file; mkdir -m 000 ~/closed; sleep 100 & disown"
    )
    await backend.stop(KEY)
    await backend.stop(KEY)
    stopped = await backend.inspect(KEY)
    assert stopped is not None and stopped.state is MachineState.STOPPED
    with pytest.raises(AgentUnreachable):
        await backend.dial(KEY)
    assert (await backend.usage(KEY)).memory_bytes is None
    assert (await backend.start(KEY)).state is MachineState.RUNNING
    assert (await shell(backend, KEY, "chmod 600 file; cat file; ls -d closed")).text == "kept\nclosed\n"


async def test_a_second_server_finds_and_ends_it(
    backend: BubblewrapBackend, tmp_path: Path, pool_id: str, grade: Grade
) -> None:
    await backend.create(KEY, SPEC)
    await shell(backend, KEY, "echo one > ~/file")
    async with BubblewrapBackend(tmp_path, pool_id=pool_id, grade=grade) as second:
        assert [machine.key for machine in await second.list()] == [KEY]
        assert (await shell(second, KEY, "cat file")).text == "one\n"
        await second.stop(KEY)
        await second.start(KEY)
        assert (await shell(second, KEY, "cat file")).text == "one\n"
    assert (await shell(backend, KEY, "cat file")).text == "one\n"


async def test_an_agent_that_ended_is_a_stopped_machine(backend: BubblewrapBackend) -> None:
    await backend.create(KEY, SPEC)
    machines = backend._machines
    process = await anyio.to_thread.run_sync(machines.first_process, machines.layout.vm(KEY))
    assert process is not None
    await anyio.to_thread.run_sync(processes.end, process)
    machine = await backend.inspect(KEY)
    assert machine is not None and machine.state is MachineState.STOPPED
    assert (await backend.create(KEY, SPEC)).state is MachineState.RUNNING


async def test_a_pid_of_another_boot_or_process_is_nobodys(backend: BubblewrapBackend) -> None:
    """After a reboot the pid on record may be anybody's: it must neither count nor be killed."""
    await backend.create(KEY, SPEC)
    await backend.stop(KEY)
    machines = backend._machines
    bystander = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220 - returns at once
    try:
        pidfile = machines.layout.vm(KEY).pidfile(machines.boot)
        pidfile.write_text(f"{bystander.pid} 1\n")
        machine = await backend.inspect(KEY)
        assert machine is not None and machine.state is MachineState.STOPPED
        await backend.destroy(KEY)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_start_after_the_host_went_down(backend: BubblewrapBackend) -> None:
    await backend.create(KEY, SPEC)
    await shell(backend, KEY, "echo kept > ~/file")
    await backend.stop(KEY)
    paths = backend._machines.layout.vm(KEY)
    paths.pidfile("an-earlier-boot").write_text("1 1\n")
    await backend.start(KEY)
    assert not paths.pidfile("an-earlier-boot").exists()
    assert (await shell(backend, KEY, "cat file")).text == "kept\n"


async def test_two_creations_at_once_make_one(backend: BubblewrapBackend) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(backend.create, KEY, SPEC)
    assert len(await backend.list()) == 1


async def test_ten_at_once(backend: BubblewrapBackend) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(backend.create, MachineKey(number + 1), SPEC)
    machines = await backend.list()
    assert [machine.state for machine in machines] == [MachineState.RUNNING] * 10


async def test_a_cancelled_creation_leaves_nothing(backend: BubblewrapBackend) -> None:
    for delay in (0.0, 0.001, 0.004, 0.01):
        with anyio.move_on_after(delay) as scope:
            await backend.create(KEY, SPEC)
        if scope.cancelled_caught:
            assert await backend.inspect(KEY) is None
        else:
            await backend.destroy(KEY)


async def test_a_failed_launch_says_why_and_leaves_nothing(
    backend: BubblewrapBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base that is gone stands for anything the launcher can fail at."""
    base = backend._machines.base_tree
    base.rename(base.with_name("elsewhere"))
    with pytest.raises(BackendFailed, match=r"vmpool-launch: cannot .*: No such file or directory"):
        await backend.create(KEY, SPEC)
    assert await backend.inspect(KEY) is None
    base.with_name("elsewhere").rename(base)
    await backend.create(KEY, SPEC)


async def test_an_agent_that_cannot_be_executed(backend: BubblewrapBackend) -> None:
    machines = backend._machines
    await backend.create(KEY, SPEC)
    await backend.stop(KEY)
    with pytest.raises(BackendFailed, match="the agent could not be executed"):
        await anyio.to_thread.run_sync(machines.launch, KEY, ("/nowhere",))
    machine = await backend.inspect(KEY)
    assert machine is not None and machine.state is MachineState.STOPPED


async def test_a_launcher_that_nobody_waits_for_leaves_nothing_half_made(
    backend: BubblewrapBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "LAUNCH_SECONDS", 0.004)
    for _ in range(5):
        try:
            await backend.create(KEY, SPEC)
        except BackendFailed:
            assert await backend.inspect(KEY) is None
        else:
            await backend.destroy(KEY)


async def test_refusals(backend: BubblewrapBackend) -> None:
    with pytest.raises(TemplateNotFound):
        await backend.create(KEY, MachineSpec("box", "cobol"))
    with pytest.raises(Unsupported, match="network 'full'"):
        await backend.create(KEY, MachineSpec("box", "bash", network="full"))
    with pytest.raises(BackendFailed):
        await backend.start(KEY)
    with pytest.raises(BackendFailed):
        await backend.stop(KEY)
    await backend.destroy(KEY)
    assert await backend.inspect(KEY) is None


async def test_a_backend_that_was_not_entered(tmp_path: Path) -> None:
    with pytest.raises(BackendUnreachable):
        await BubblewrapBackend(tmp_path).describe()


async def test_a_long_state_directory(tmp_path: Path, pool_id: str, grade: Grade) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    async with BubblewrapBackend(deep, pool_id=pool_id, grade=grade) as backend:
        await backend.create(KEY, SPEC)
        assert (await shell(backend, KEY, "echo here")).text == "here\n"
        await backend.destroy(KEY)


SERVER = """
import anyio, sys
from pathlib import Path
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.host import Grade

async def churn(backend, number):
    key = MachineKey(number)
    while True:
        await backend.create(key, MachineSpec("box", "bash"))
        await backend.stop(key)
        await backend.start(key)
        await backend.snapshot(key, f"kept-{number}")
        await backend.delete_snapshot(f"kept-{number}")
        await backend.destroy(key)

async def main():
    async with BubblewrapBackend(Path(sys.argv[1]), pool_id=sys.argv[2], grade=Grade(sys.argv[3])) as backend:
        print("entered", flush=True)
        async with anyio.create_task_group() as tasks:
            for number in range(1, 4):
                tasks.start_soon(churn, backend, number)
anyio.run(main)
"""


async def test_a_server_killed_at_any_moment(
    tmp_path: Path, pool_id: str, grade: Grade, nothing_left: None
) -> None:
    """What a later server finds is usable or removable, and held processes go on."""
    chance = random.Random(1)
    for _ in range(6):
        server = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here
            [sys.executable, "-c", SERVER, str(tmp_path), pool_id, grade.value], stdout=subprocess.PIPE
        )
        assert server.stdout is not None
        assert server.stdout.readline() == b"entered\n"
        time.sleep(chance.uniform(0.02, 0.3))  # noqa: ASYNC251 - nothing else runs here
        server.kill()
        server.wait()
        server.stdout.close()
        async with BubblewrapBackend(tmp_path, pool_id=pool_id, grade=grade) as backend:
            for machine in await backend.list():
                if machine.state is MachineState.STOPPED:
                    await backend.start(machine.key)
                elif machine.state is MachineState.CREATING:
                    await backend.create(machine.key, SPEC)
                assert (await shell(backend, machine.key, "echo alive", timeout=5)).text == "alive\n"
                await backend.destroy(machine.key)
            for snapshot in await backend.list_snapshots():
                await backend.delete_snapshot(snapshot.reference)
