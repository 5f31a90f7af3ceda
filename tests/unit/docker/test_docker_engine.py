"""The backend against a real engine: what the conformance suite does not ask of every backend."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from vmpool.agent.client import open_client
from vmpool.backends.base import MachineKey, MachineSpec, MachineState
from vmpool.backends.docker import DockerBackend, images
from vmpool.backends.docker.agent_volume import agent_binary, shown_files, volume_name
from vmpool.backends.docker.engine import connected, engine_facts, find_image
from vmpool.backends.docker.spec import SOCKET_DIR, Placement, container_config, container_name
from vmpool.backends.docker.stub import dial_stub
from vmpool.domain import Limits
from vmpool.errors import (
    AgentUnreachable,
    BackendFailed,
    BackendUnreachable,
    SnapshotMismatch,
    SnapshotNotFound,
)

from .conftest import MakeBackend
from .inside import agent_of, run, shell

pytestmark = pytest.mark.anyio

KEY = MachineKey(1)
SPEC = MachineSpec("box", "bash")
AGENT_BINARY = agent_binary(os.uname().machine)


async def containers_of(pool_id: str) -> list[str]:
    """Names of all containers of a pool, also of those that bear its name only."""
    async with connected() as client:
        found = await client.containers.list(all=True)
    return [name for one in found for name in one["Names"] if pool_id in name]


async def facts_of(pool_id: str, key: MachineKey = KEY) -> dict[str, Any]:
    async with connected() as client:
        return await client.containers.container(container_name(pool_id, key)).show()


async def is_podman() -> bool:
    async with connected() as client:
        return engine_facts(await client.system.info(), None).podman


async def test_the_vm_is_held_in_on_every_side(backend: DockerBackend, pool_id: str) -> None:
    await backend.create(KEY, SPEC)
    async with agent_of(backend, KEY) as agent:
        status = await shell(agent, "cat /proc/self/status")
        mounts = await shell(agent, "cat /proc/mounts /proc/self/mountinfo /proc/1/cmdline")
        assert await shell(agent, "hostname; id -u; id -g; ls /sys/class/net") == ("box\n1000\n1000\nlo\n")
        assert await shell(
            agent,
            "ulimit -c; ulimit -n; ulimit -Hn; umask; touch /tmp/x ~/x; df --output=size /dev/shm | tail -1",
        ) == ("0\n1024\n4096\n0022\n    65536\n")
        if not await is_podman():
            assert await shell(agent, "cut -d: -f3 /proc/self/cgroup | sort -u") == "/\n"
        written, ended = await run(agent, "/bin/sh", "-c", "echo x > /.vmpool/x")
        assert ended.exit_code != 0, written
    held = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    assert {held[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2")
    for word in (str(Path.home()), str(Path.cwd()), "vmpool/bin"):
        assert word not in mounts
    facts = await facts_of(pool_id)
    assert facts["NetworkSettings"]["Ports"] == {}
    assert facts["Config"]["Env"][0].startswith("PATH=/home/user/.local/bin:")


async def test_on_the_engines_bridge_where_the_operator_offers_it(
    make_backend: MakeBackend, backend: DockerBackend
) -> None:
    assert "network:full" not in (await backend.describe()).capabilities
    async with make_backend(full_network=True) as offering, connected() as client:
        capable = "network:full" in (await offering.describe()).capabilities
        names = {one["Name"] for one in await client.networks.list()}
        assert capable == ("bridge" in names)
        if not capable:
            return
        await offering.create(KEY, MachineSpec("box", "bash", network="full"))
        async with agent_of(offering, KEY) as agent:
            assert await shell(agent, "ls /sys/class/net") == "eth0\nlo\n"


async def test_many_at_once_with_one_key_are_one_container(backend: DockerBackend, pool_id: str) -> None:
    made = []

    async def make() -> None:
        made.append(await backend.create(KEY, SPEC))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(make)
    assert len({machine.container_id for machine in made}) == 1
    assert await containers_of(pool_id) == [f"/{container_name(pool_id, KEY)}"]


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.04, 0.08, 0.12, 0.16, 0.2, 0.25])
async def test_a_create_cancelled_at_any_moment_leaves_nothing(
    backend: DockerBackend, pool_id: str, delay: float
) -> None:
    await backend.create(MachineKey(2), SPEC)  # so that the agent's volume is there already
    finished = False
    with anyio.move_on_after(delay):
        await backend.create(KEY, SPEC)
        finished = True
    expected = {f"/{container_name(pool_id, MachineKey(2))}"}
    if finished:
        expected.add(f"/{container_name(pool_id, KEY)}")
    assert set(await containers_of(pool_id)) == expected
    assert (await backend.inspect(KEY) is not None) == finished


async def test_an_agent_that_cannot_run_leaves_nothing(
    make_backend: MakeBackend, pool_id: str, tmp_path: Path
) -> None:
    text = tmp_path / "agent"
    await anyio.Path(text).write_bytes(b"\x7fELF is not a program")
    async with make_backend(agent=text) as backend:
        with pytest.raises(BackendFailed, match=r"could not create vm-1-1|ended while it started"):
            await backend.create(KEY, SPEC)
        assert await containers_of(pool_id) == []
        assert await backend.list() == []


async def test_an_agent_that_ends_at_once_leaves_nothing(
    make_backend: MakeBackend, pool_id: str, tmp_path: Path
) -> None:
    script = tmp_path / "agent"
    await anyio.Path(script).write_bytes(b"#!/bin/sh\nexit 3\n")
    async with make_backend(agent=script) as backend:
        with pytest.raises(BackendFailed, match="ended while it started: status 3"):
            await backend.create(KEY, SPEC)
        assert await containers_of(pool_id) == []


async def test_an_image_without_any_file_works(make_backend: MakeBackend, pool_id: str) -> None:
    """No libc, no shell, no /home, no /tmp: one static program."""
    prefix = f"{pool_id}/"
    files: dict[str, bytes | Path] = {
        "Dockerfile": b"FROM scratch\nCOPY program /program\n",
        "program": await anyio.Path(AGENT_BINARY).read_bytes(),
    }
    async with connected() as client, make_backend(image_prefix=prefix) as backend:
        async with images._context(files) as context:
            await client.images.build(fileobj=context, encoding="identity", tag=f"{prefix}bare")
        try:
            await backend.create(KEY, MachineSpec("bare", "bare"))
            async with agent_of(backend, KEY) as agent:
                output, ended = await run(agent, "/.vmpool/vmpool-agent", "--version")
                assert ended.exit_code == 0, output
                await agent.write_file("/home/user/kept", b"1")
                await agent.write_file("/tmp/kept", b"2")
            stored = await backend.snapshot(KEY, "bare-1")
            await backend.create(MachineKey(1, 2), MachineSpec("bare", "bare", snapshot="bare-1"))
            async with agent_of(backend, MachineKey(1, 2)) as agent:
                assert await agent.read_file("/home/user/kept") == b"1"
            assert stored.base.startswith("sha256:")
            for generation in (1, 2):
                await backend.destroy(MachineKey(1, generation))
            await backend.delete_snapshot("bare-1")
        finally:
            await client.images.delete(f"{prefix}bare", force=True)


async def test_the_stub_carries_any_bytes_both_ways(backend: DockerBackend, pool_id: str) -> None:
    await backend.create(KEY, SPEC)
    data = bytes(range(256)) * 16384
    async with connected() as client:
        container = client.containers.container(container_name(pool_id, KEY))
        async with open_client(lambda: dial_stub(container)) as agent:
            await agent.write_file("/home/user/bytes", data)
            assert await agent.read_file("/home/user/bytes") == data
        await backend.stop(KEY)
        with pytest.raises(AgentUnreachable, match="starts no stub"):
            await dial_stub(container)


async def test_the_stub_says_why_it_could_not_reach_the_agent(backend: DockerBackend, pool_id: str) -> None:
    await backend.create(KEY, SPEC)
    init = (await facts_of(pool_id))["State"]["Pid"]
    await anyio.to_thread.run_sync(os.unlink, f"/proc/{init}/root{SOCKET_DIR}/agent.sock")
    async with connected() as client:
        with pytest.raises(AgentUnreachable, match="cannot connect"):
            await dial_stub(client.containers.container(container_name(pool_id, KEY)))


@pytest.mark.root
class TestHostileSocket:
    """The guest, given back what the host takes from it, tries to lead the host somewhere else."""

    async def directory_given_back(self, backend: DockerBackend, pool_id: str) -> Path:
        await backend.create(KEY, SPEC)
        init = (await facts_of(pool_id))["State"]["Pid"]
        directory = Path(f"/proc/{init}/root{SOCKET_DIR}")
        await anyio.to_thread.run_sync(os.chown, directory, 1000, 1000)
        return directory

    async def test_the_guest_cannot_touch_the_socket(self, backend: DockerBackend) -> None:
        await backend.create(KEY, SPEC)
        async with agent_of(backend, KEY) as agent:
            for attempt in (
                "rm agent.sock",
                "mv agent.sock x",
                "touch x",
                "ln -s /etc/passwd x",
                "chmod 777 .",
            ):
                output, ended = await run(agent, "/bin/sh", "-c", f"cd {SOCKET_DIR} && {attempt}")
                assert ended.exit_code != 0, (attempt, output)
        await (await backend.dial(KEY)).aclose()

    async def test_it_stays_so_after_a_restart(self, backend: DockerBackend) -> None:
        await backend.create(KEY, SPEC)
        await backend.stop(KEY)
        await backend.start(KEY)
        async with agent_of(backend, KEY) as agent:
            _output, ended = await run(agent, "/bin/rm", f"{SOCKET_DIR}/agent.sock")
            assert ended.exit_code != 0

    async def test_another_listener_in_the_agents_place(self, backend: DockerBackend, pool_id: str) -> None:
        directory = await self.directory_given_back(backend, pool_id)
        await anyio.Path(directory / "agent.sock").unlink()
        async with await anyio.create_unix_listener(directory / "agent.sock"):
            with pytest.raises(AgentUnreachable, match="not the agent"):
                await backend.dial(KEY)

    async def test_a_link_to_a_socket_of_the_host(
        self, backend: DockerBackend, pool_id: str, tmp_path: Path
    ) -> None:
        directory = await self.directory_given_back(backend, pool_id)
        async with await anyio.create_unix_listener(tmp_path / "host.sock"):
            await anyio.Path(directory / "agent.sock").unlink()
            await anyio.Path(directory / "agent.sock").symlink_to(tmp_path / "host.sock")
            with pytest.raises(AgentUnreachable, match="not a socket"):
                await backend.dial(KEY)


async def test_limits_hold_and_an_out_of_memory_kill_is_counted(backend: DockerBackend) -> None:
    limits = Limits(cpu=1, memory=64, disk=10, processes=32)
    await backend.create(KEY, MachineSpec("box", "bash", limits))
    async with agent_of(backend, KEY) as agent:
        assert (await backend.usage(KEY)).oom_kills == 0
        _output, ended = await run(
            agent, "/bin/bash", "-c", "x=$(head -c 200M /dev/zero | tr '\\0' x); echo ${#x}"
        )
        assert ended.exit_code != 0
        output, ended = await run(agent, "/bin/bash", "-c", "for i in {1..100}; do sleep 5 & done; wait")
        assert ended.exit_code != 0
        assert "fork" in output
        output, ended = await run(agent, "/bin/sh", "-c", "head -c 20M /dev/zero > ~/large; wc -c < ~/large")
        # The program's own line about the refusal is on the other stream, and may come before or after.
        written = [int(line) for line in output.splitlines() if line.isdecimal()]
        assert 0 < written[0] <= 10 * 2**20, output
        usage = await backend.usage(KEY)
    assert usage.oom_kills is not None
    assert usage.oom_kills >= 1
    assert usage.memory_peak_bytes is not None
    assert 32 * 2**20 < usage.memory_peak_bytes <= 64 * 2**20
    assert usage.disk_bytes is not None
    assert 0.9 * written[0] <= usage.disk_bytes <= 10 * 2**20
    assert usage.cpu_seconds is not None
    assert usage.cpu_seconds > 0


async def test_a_vm_frozen_by_a_server_that_ended_is_seen_and_let_go(
    make_backend: MakeBackend, pool_id: str
) -> None:
    async with make_backend() as first:
        await first.create(KEY, SPEC)
    async with connected() as client:
        await client.containers.container(container_name(pool_id, KEY)).pause()
    async with make_backend() as second, open_client(lambda: second.dial(KEY)) as agent:
        seen = await second.inspect(KEY)
        assert seen is not None and seen.state is MachineState.PAUSED
        await second.resume(KEY)
        with anyio.fail_after(30):
            await agent.ping()


async def test_a_container_removed_by_hand_leaves_no_volume_for_good(
    make_backend: MakeBackend, pool_id: str
) -> None:
    async with connected() as client:
        ours = {"label": [f"vmpool.pool={pool_id}"]}
        async with make_backend() as backend:
            await backend.create(KEY, SPEC)
            await client.containers.container(container_name(pool_id, KEY)).delete(force=True)
            assert (await client.volumes.list(filters=ours))["Volumes"]
        assert not (await client.volumes.list(filters=ours))["Volumes"]


async def test_a_snapshot_outlives_its_vm_its_deletion_and_the_server(
    make_backend: MakeBackend, pool_id: str
) -> None:
    async with make_backend() as first:
        await first.create(KEY, SPEC)
        async with agent_of(first, KEY) as agent:
            await shell(agent, "echo one > ~/file; head -c 300000 /dev/zero > ~/zeros")
            stored = await first.snapshot(KEY, "s1")
            assert 300_000 <= stored.size < 1_000_000
            assert await first.snapshot(KEY, "s1") == stored
            assert await shell(agent, "cat ~/file") == "one\n"  # it went on running
    async with make_backend() as second:
        assert await second.list_snapshots() == [stored]
        await second.destroy(KEY)
        restored = MachineKey(1, 2)
        spec = MachineSpec("box", "bash", snapshot="s1")
        await second.create(restored, spec)
        async with agent_of(second, restored) as agent:
            assert await shell(agent, "cat ~/file") == "one\n"
        facts = await facts_of(pool_id, restored)
        with pytest.raises(SnapshotMismatch):
            await second.create(MachineKey(2), MachineSpec("box", "python", snapshot="s1"))
        await second.delete_snapshot("s1")
        await second.delete_snapshot("s1")
        assert await second.list_snapshots() == []
        with pytest.raises(SnapshotNotFound):
            await second.create(MachineKey(2), spec)
        await second.stop(restored)
        await second.start(restored)
        async with agent_of(second, restored) as agent:
            assert await shell(agent, "cat ~/file") == "one\n"
        await second.destroy(restored)
    async with connected() as client:
        assert await find_image(client, str(facts["Image"])) is None


async def test_an_earlier_servers_vms_are_ones_own(make_backend: MakeBackend) -> None:
    async with make_backend() as first:
        made = await first.create(KEY, SPEC)
    async with make_backend() as second:
        assert await second.list() == [made]
        async with agent_of(second, KEY) as agent:
            assert await shell(agent, "echo still here") == "still here\n"
        await second.stop(KEY)
        stopped = await second.inspect(KEY)
        assert stopped is not None
        assert stopped.state is MachineState.STOPPED
        await second.destroy(KEY)
        assert await second.inspect(KEY) is None


async def test_the_agents_volume_stays_for_as_long_as_a_vm_does(
    make_backend: MakeBackend, pool_id: str
) -> None:
    name = volume_name(pool_id, await anyio.to_thread.run_sync(shown_files, Path(AGENT_BINARY)))

    async def is_there() -> bool:
        async with connected() as client:
            listing = await client.volumes.list(filters={"name": [name]})
        return bool(listing["Volumes"])

    async with make_backend() as backend:
        await backend.create(KEY, SPEC)
    assert await is_there()
    async with make_backend() as backend:
        await backend.create(KEY, SPEC)
        await backend.destroy(KEY)
    assert not await is_there()


async def test_pools_on_one_engine_do_not_see_each_other(
    backend: DockerBackend, make_backend: MakeBackend, pool_id: str
) -> None:
    await backend.create(KEY, SPEC)
    async with make_backend(pool_id=f"{pool_id}-b") as other:
        assert await other.list() == []
        assert await other.inspect(KEY) is None
        await other.destroy(KEY)
        await other.create(KEY, SPEC)
        await other.destroy(KEY)
    assert len(await backend.list()) == 1


async def test_a_half_made_machine_is_finished_by_the_next_create(
    backend: DockerBackend, pool_id: str
) -> None:
    await backend.create(MachineKey(9), SPEC)
    image = (await facts_of(pool_id, MachineKey(9)))["Image"]
    volume = volume_name(pool_id, await anyio.to_thread.run_sync(shown_files, Path(AGENT_BINARY)))
    config = container_config(KEY, SPEC, image, image, Placement(pool_id, volume, podman=await is_podman()))
    async with connected() as client:
        await client.containers.create(config, name=container_name(pool_id, KEY))
    half = await backend.inspect(KEY)
    assert half is not None
    assert half.state is MachineState.CREATING
    with pytest.raises(BackendFailed):
        await backend.start(KEY)
    with pytest.raises(AgentUnreachable):
        await backend.dial(KEY)
    assert (await backend.create(KEY, SPEC)).state is MachineState.RUNNING


async def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendUnreachable, match="start Docker"):
        async with DockerBackend(tmp_path, pool_id="x", host="unix:///nonexistent.sock"):
            raise AssertionError("entered without an engine")


async def test_an_engine_that_goes_away(tmp_path: Path, pool_id: str, engine: None) -> None:
    """Through a socket of our own that leads to the engine, and is then taken away."""
    front = tmp_path / "engine.sock"

    async def relay(near: ByteStream) -> None:
        async with (
            near,
            await anyio.connect_unix("/var/run/docker.sock") as far,
            anyio.create_task_group() as both,
        ):
            both.start_soon(carry, near, far)
            both.start_soon(carry, far, near)

    async def carry(source: ByteStream, sink: ByteStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for data in source:
                await sink.send(data)

    async with anyio.create_task_group() as tasks:
        listener = await anyio.create_unix_listener(front)
        tasks.start_soon(listener.serve, relay)
        async with DockerBackend(tmp_path, pool_id=pool_id, host=f"unix://{front}") as backend:
            assert await backend.list() == []
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await listener.aclose()
                for verb in (
                    backend.list,
                    backend.describe,
                    partial(backend.inspect, KEY),
                    partial(backend.dial, KEY),
                ):
                    with pytest.raises(BackendUnreachable):
                        await verb()


@pytest.mark.root
async def test_a_server_that_may_not_enter_the_container_goes_through_the_engine(
    engine: None, pool_id: str
) -> None:
    """Root without CAP_SYS_PTRACE sees the process and not its root, as any other user does."""
    script = Path(__file__).with_name("unprivileged.py")
    done = await anyio.run_process(
        ["setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-W", "error", str(script), pool_id],
        check=False,
    )
    assert (done.stderr, done.stdout) == (b"", b"example.org:80\nExecStream [7] True\n")
