"""Templates of users, through a whole pool on every backend."""

from __future__ import annotations

from dataclasses import replace

import anyio
import anyio.to_thread
import pytest

from tests.conformance import damage
from tests.conformance.backends import World
from tests.conformance.pool import USER, Serve, eventually, make, run
from vmpool.backends.base import SupportsSnapshot
from vmpool.domain import ExecutionRequest, Limits, VMState
from vmpool.errors import (
    Conflict,
    InvalidRequest,
    SnapshotDamaged,
    SnapshotNotFound,
    TemplateNotFound,
    TooManyTemplates,
)
from vmpool.pool.requests import VMRequest
from vmpool.pool.settings import TemplateSettings
from vmpool.pool.vm_pool_manager import VMPoolManager

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def said(pool: VMPoolManager, vm: int | str, command: str, user: int = USER) -> str:
    result = await pool.execute(user, vm, ExecutionRequest(command=command, timeout=30))
    assert result.outcome is not None and result.outcome.exit_code == 0, result
    return result.outcome.output


async def kept(world: World) -> set[str]:
    """What the backend has of snapshots."""
    async with world.backend() as backend:
        assert isinstance(backend, SupportsSnapshot)
        return {stored.reference for stored in await backend.list_snapshots()}


async def test_vms_from_it_have_its_files_and_outlive_it(serve: Serve, world: World) -> None:
    async with serve() as pool:
        vm = await make(pool)
        await run(pool, "mkdir -p sub && echo one > sub/note")
        made = await pool.publish(USER, "box", "with-note", "has a note")
        assert (made.name, made.base, made.parent, made.parent_id) == ("with-note", "python", "python", None)
        assert made.size >= 0 and made.vm_id == vm.id
        await run(pool, "echo two > sub/note")
        assert await pool.list_snapshots(USER, "box") == []
        await pool.delete_vm(USER, "box")
    async with serve() as pool:  # neither the VM nor the server that made it is there any more
        assert await pool.templates.list(USER) == [made]
        fresh = await pool.create_vm(USER, VMRequest("fresh", None, template="with-note"))
        assert (fresh.state, fresh.language, fresh.template) == (VMState.RUNNING, "python", "python")
        assert (fresh.template_id, fresh.made_from, fresh.forked_from) == (made.id, "with-note", None)
        assert await said(pool, "fresh", "cat sub/note; hostname") == "one\nfresh\n"
        await said(pool, "fresh", "echo three > sub/note")
        second = await pool.publish(USER, "fresh", "second")
        assert (second.parent_id, second.parent, second.base) == (made.id, "with-note", "python")
        (copy,) = await pool.fork(USER, "fresh", 1, ["copy"])
        assert (copy.template_id, copy.made_from, copy.forked_from) == (made.id, "with-note", fresh.id)
        await pool.templates.delete(USER, "with-note")
        with pytest.raises(TemplateNotFound) as refused:
            await pool.create_vm(USER, VMRequest("none", None, template="with-note"))
        assert "second" in refused.value.message
        await pool.stop_vm(USER, "fresh")
        await pool.start_vm(USER, "fresh")
        assert await said(pool, "fresh", "cat sub/note") == "three\n"
        last = await pool.create_vm(USER, VMRequest("last", None, template=str(second.id)))
        assert await said(pool, last.id, "cat sub/note") == "three\n"
        await pool.templates.delete(USER, second.id)
        for name in ("fresh", "copy", "last"):
            await pool.delete_vm(USER, name)
    assert await kept(world) == set()


async def test_a_snapshot_goes_with_whoever_has_it_last(serve: Serve, world: World) -> None:
    async with serve() as pool:
        await make(pool)
        await run(pool, "echo kept > note")
        snapshot = await pool.snapshot(USER, "box", "before")
        made = await pool.templates.publish_snapshot(USER, snapshot.id, "of-it", "")
        await pool.templates.publish_snapshot(USER, snapshot.id, "of-it-too", "")
        await pool.templates.delete(USER, "of-it-too")
        assert [one.id for one in await pool.list_snapshots(USER, "box")] == [snapshot.id]
        await pool.delete_snapshot(USER, "box", "before")
        assert await pool.list_snapshots(USER, "box") == []
        with pytest.raises(SnapshotNotFound):
            await pool.restore(USER, "box", snapshot.id)
        again = await pool.snapshot(USER, "box", "before")  # its name is free
        await pool.templates.publish_snapshot(USER, again.id, "of-another", "")
        await pool.delete_vm(USER, "box")

        async def only_theirs() -> bool:
            rows = await pool.templates.list(USER)
            return len(rows) == 2 and not await pool._store.snapshots.pending()

        await eventually(only_theirs)
        vm = await pool.create_vm(USER, VMRequest("fresh", None, template="of-it"))
        assert vm.template_id == made.id
        assert await said(pool, "fresh", "cat note") == "kept\n"
        await pool.delete_vm(USER, "fresh")
        for name in ("of-it", "of-another"):
            await pool.templates.delete(USER, name)

        async def nothing_kept() -> bool:
            return await pool._store.snapshots.all() == []

        await eventually(nothing_kept)
    assert await kept(world) == set()


async def test_a_damaged_one_is_refused(serve: Serve, world: World) -> None:
    async with serve() as pool:
        await make(pool)
        await run(pool, f"echo '{damage.MARK.decode()}' > note")
        made = await pool.publish(USER, "box", "made")
        async with world.backend() as backend:
            reference = (await pool._store.snapshots.at(made.snapshot_id)).reference
            await anyio.to_thread.run_sync(damage.do, damage.Harm.FLIPPED, world, backend, reference)
        with pytest.raises(SnapshotDamaged):
            await pool.create_vm(USER, VMRequest("none", None, template="made"))
        assert [vm.name for vm in await pool.list_vms(USER)] == ["box"]
        await pool.templates.delete(USER, "made")
        await pool.delete_vm(USER, "box")


async def test_what_is_refused_leaves_nothing(serve: Serve, world: World) -> None:
    async with serve() as pool:
        await make(pool)
        for name in ("python", "node", "python3.13", "123", "Upper", "-a", "a-", "", "x" * 64, "a b"):
            with pytest.raises(InvalidRequest):
                await pool.publish(USER, "box", name)
        with pytest.raises(InvalidRequest):
            await pool.publish(USER, "box", "fine", "\0")
        await pool.publish(USER, "box", "taken")
        with pytest.raises(Conflict, match="taken"):
            await pool.publish(USER, "box", "taken")
        for bounds in (TemplateSettings(most=1), TemplateSettings(most_bytes=-1)):
            pool._context.settings = replace(pool.settings, templates=bounds)
            with pytest.raises(TooManyTemplates):
                await pool.publish(USER, "box", "one-more")
        pool._context.settings = pool.settings
        with pytest.raises(TemplateNotFound):
            await pool.create_vm(USER, VMRequest("none", "python", template="nowhere"))
        assert [one.name for one in await pool.templates.list(USER)] == ["taken"]
        assert len(await pool._store.snapshots.all()) == 1
        await pool.templates.delete(USER, "taken")
        await pool.delete_vm(USER, "box")
    assert await kept(world) == set()


async def test_whose_it_is(serve: Serve) -> None:
    async with serve() as pool:
        other = (await pool._store.users.ensure("bob")).id
        await make(pool)
        await run(pool, "echo mine > note")
        made = await pool.publish(USER, "box", "mine")
        for verb in (pool.templates.get, pool.templates.delete):
            with pytest.raises(TemplateNotFound):
                await verb(other, made.id)
        with pytest.raises(TemplateNotFound):
            await pool.create_vm(other, VMRequest("theirs", None, template="mine"))
        await pool.templates.change(USER, "mine", shared=True)
        await pool.create_vm(other, VMRequest("theirs", None, template="mine"))
        assert await said(pool, "theirs", "cat note", other) == "mine\n"
        with pytest.raises(TemplateNotFound):
            await pool.templates.delete(other, "mine")
        await said(pool, "theirs", "echo theirs > note", other)
        await pool.publish(other, "theirs", "mine")  # one's own comes before what is shared
        assert (await pool.templates.get(other, "mine")).user_id == other
        assert [one.user_id for one in await pool.templates.list(other)] == [other, USER]
        assert (await pool.templates.get(USER, "mine")).id == made.id
        with pytest.raises(Conflict, match="shared"):
            await pool.templates.change(other, "mine", shared=True)
        await pool.templates.delete(USER, "mine")
        await pool.templates.delete(other, "mine")
        await pool.delete_vm(other, "theirs")
        await pool.delete_vm(USER, "box")


async def test_limits_hold_and_its_disk_is_the_least(serve: Serve) -> None:
    async with serve() as pool:
        await pool.create_vm(USER, VMRequest("box", "python", limits=Limits(disk=96)))
        made = await pool.publish(USER, "box", "small")
        assert made.disk == 96
        asked = VMRequest("fresh", "bash", template="small", limits=Limits(memory=256, disk=64))
        vm = await pool.create_vm(USER, asked)
        assert (vm.limits.memory, vm.limits.disk, vm.language) == (256, 96, "bash")
        await pool.templates.delete(USER, "small")
        for name in ("box", "fresh"):
            await pool.delete_vm(USER, name)
