"""What is kept of a machine's files: over stop and start, in snapshots, and not after destroy."""

from __future__ import annotations

import pytest

from tests.captured import run
from tests.conformance.backends import KEY, Power, World
from tests.conformance.box import Box, next_id, open_box, shell_spec
from vmpool.agent import open_client
from vmpool.backends.base import Backend, MachineKey, SupportsSnapshot
from vmpool.errors import BackendFailed, SnapshotMismatch, SnapshotNotFound

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
NEXT = MachineKey(KEY.vm_id, 2)


async def says(backend: Backend, key: MachineKey, script: str) -> str:
    async with open_client(lambda: backend.dial(key)) as client:
        captured = await run(client, next_id(), shell_spec(script))
        assert captured.exit.exit_code == 0, captured
        return captured.stdout.decode().strip()


def snapshots_of(backend: Backend) -> SupportsSnapshot:
    assert isinstance(backend, SupportsSnapshot)
    return backend


async def test_files_survive_stop_and_start(own_box: Box) -> None:
    await own_box.output("mkdir -p deep/er; echo one > deep/er/f; echo two > /tmp/t; touch .hidden")
    await own_box.backend.stop(own_box.key)
    await own_box.backend.start(own_box.key)
    assert await says(own_box.backend, own_box.key, "cat deep/er/f; cd deep; ls") == "one\ner"


async def test_a_new_machine_under_an_old_key_is_empty(world: World, backend: Backend) -> None:
    await backend.create(KEY, world.spec())
    await says(backend, KEY, "echo secret > f")
    await backend.destroy(KEY)
    await backend.create(KEY, world.spec())
    assert await says(backend, KEY, "cat f || echo none") == "none"


async def test_a_snapshot_of_a_running_machine_restores_under_a_new_generation(
    world: World, backend: Backend
) -> None:
    keeper = snapshots_of(backend)
    await backend.create(KEY, world.spec())
    await says(backend, KEY, "mkdir d; echo before > d/f; echo gone > later")
    stored = await keeper.snapshot(KEY, "snapshot-1")
    assert stored.reference == "snapshot-1"
    assert stored.base
    assert stored.size >= 0
    assert await keeper.snapshot(KEY, "snapshot-1") == stored
    assert await keeper.list_snapshots() == [stored]
    await says(backend, KEY, "echo after > d/f; rm later; echo new > n")
    await backend.create(NEXT, world.spec(snapshot="snapshot-1"))
    assert await says(backend, NEXT, "cat d/f later; cat n || echo none") == "before\ngone\nnone"
    assert await says(backend, KEY, "cat d/f") == "after"


async def test_a_snapshot_outlives_its_machine_and_the_server(world: World) -> None:
    async with world.backend() as first:
        await first.create(KEY, world.spec())
        await says(first, KEY, "echo kept > f")
        await first.stop(KEY)
        stored = await snapshots_of(first).snapshot(KEY, "snapshot-2")
        await first.destroy(KEY)
    async with world.backend() as second:
        keeper = snapshots_of(second)
        assert await keeper.list_snapshots() == [stored]
        for generation in (2, 3):
            key = MachineKey(KEY.vm_id, generation)
            await second.create(key, world.spec(snapshot="snapshot-2"))
            assert await says(second, key, "cat f; echo changed > f") == "kept"
        await second.destroy(MachineKey(KEY.vm_id, 2))
        await keeper.delete_snapshot("snapshot-2")
        await keeper.delete_snapshot("snapshot-2")
        assert await keeper.list_snapshots() == []
        with pytest.raises(SnapshotNotFound):
            await second.create(MachineKey(9), world.spec(snapshot="snapshot-2"))
        # what was made from it stands on its own
        third = MachineKey(KEY.vm_id, 3)
        await second.stop(third)
        await second.start(third)
        assert await says(second, third, "cat f") == "changed"


async def test_a_snapshot_of_nothing(backend: Backend) -> None:
    keeper = snapshots_of(backend)
    with pytest.raises(BackendFailed):
        await keeper.snapshot(KEY, "snapshot-3")
    assert await keeper.list_snapshots() == []


async def test_a_snapshot_stands_on_its_template(world: World, backend: Backend) -> None:
    keeper = snapshots_of(backend)
    await backend.create(KEY, world.spec(template="bash"))
    stored = await keeper.snapshot(KEY, "snapshot-4")
    await backend.create(MachineKey(3), world.spec(template="python"))
    other = await keeper.snapshot(MachineKey(3), "snapshot-5")
    elsewhere = world.spec(template="python", snapshot="snapshot-4")
    if stored.base == other.base:
        assert (await backend.create(NEXT, elsewhere)).key == NEXT
    else:
        with pytest.raises(SnapshotMismatch):
            await backend.create(NEXT, elsewhere)


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_modes_links_and_odd_names_survive_a_snapshot(world: World) -> None:
    async with open_box(world) as box:
        await box.output(
            "mkdir locked; echo x > locked/f; chmod 000 locked; echo e > exec; chmod 755 exec;"
            "ln -s exec link; ln exec hard; printf n > 'odd name\n'; mkfifo pipe"
        )
        await snapshots_of(box.backend).snapshot(box.key, "snapshot-6")
        await box.backend.create(NEXT, world.spec(snapshot="snapshot-6"))
        # Not `stat`, which sets a flag that Debian's gVisor lacks.  gVisor keeps named pipes to itself.
        gvisor = (await box.backend.describe()).isolation == "gvisor"
        listing = (
            "find exec link pipe locked -maxdepth 0 -printf '%M %p\\n' 2>/dev/null; chmod 700 locked;"
            "cat locked/f link; find hard -printf '%n\\n'; ls | wc -l; find exec -printf '%U\\n'"
        )
        pipe, entries = ("", 6) if gvisor else ("prw-r--r-- pipe\n", 7)
        assert await says(box.backend, NEXT, listing) == (
            f"-rwxr-xr-x exec\nlrwxrwxrwx link\n{pipe}d--------- locked\nx\ne\n2\n{entries}\n1000"
        )
