"""Templates that are built step by step, through a whole pool on every backend."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

import anyio
import pytest

from tests.conformance.backends import World
from tests.conformance.pool import USER, Serve, eventually
from tests.conformance.test_templates import kept, said
from vmpool.domain import Limits
from vmpool.domain.template_build import Build, BuildState, NewBuild, Step
from vmpool.errors import BuildEnded, BuildNotFound, Conflict, InvalidRequest, TemplateNotFound
from vmpool.pool.requests import VMRequest
from vmpool.pool.settings import TemplateSettings
from vmpool.pool.vm_pool_manager import VMPoolManager

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

SMALL = VMRequest("build", None, limits=Limits(memory=256, disk=64))


def files(**content: str) -> Step:
    return Step(files={name: b64encode(text.encode()).decode() for name, text in content.items()})


def run(command: str, **more: Any) -> Step:
    return Step(run=command, **more)


async def begin(pool: VMPoolManager, *steps: Step, name: str = "made", **more: Any) -> Build:
    asked = NewBuild(USER, name, more.pop("base", "bash"), steps, **more)
    return await pool.builds.begin(asked, SMALL)


async def ended(pool: VMPoolManager, build: Build) -> tuple[Build, str]:
    """How it ended, and its log."""
    text, last = b"", build
    with anyio.fail_after(90):
        async for value in await pool.builds.follow(USER, build.id):
            if isinstance(value, Build):
                last = value
            else:
                assert value[0] == len(text)
                text += value[1]
    assert await pool.builds.log(USER, build.id, 0) == text
    return last, text.decode()


async def built(pool: VMPoolManager, *steps: Step, **more: Any) -> tuple[Build, str]:
    return await ended(pool, await begin(pool, *steps, **more))


async def clear(pool: VMPoolManager, world: World) -> None:
    """Delete every template, and what is kept for builds; nothing may be left."""
    for one in await pool.templates.list(USER):
        await pool.templates.delete(USER, one.id)
    await pool._snapshots.release_all(await pool._store.template_layers.shorten(USER, -1))
    assert await pool.list_vms(USER) == []

    async def none() -> bool:
        return await pool._store.snapshots.all() == []

    await eventually(none)
    assert await kept(world) == set()


async def test_step_by_step(serve: Serve, world: World) -> None:
    async with serve() as pool:
        steps = (
            files(**{"sub/greeting": "hello\n"}),
            run(
                "cat greeting > copied; echo built with $WHO; echo to stderr >&2",
                cwd="sub",
                env={"WHO": "care"},
            ),
        )
        build, log = await built(pool, *steps, description="says hello")
        assert (build.state, build.step, build.failure) == (BuildState.READY, 2, None)
        assert "step 1 of 2: files sub/greeting\n" in log and "built with care\n" in log
        assert "to stderr\n" in log and log.endswith("the template is ready\n")
        (made,) = await pool.templates.list(USER)
        assert build.template_id == made.id and made.build_id == build.id
        assert (made.name, made.parent, made.base, made.language) == ("made", "bash", "bash", "bash")
        assert await pool.list_vms(USER) == []  # the VM it was built in is gone
        await pool.create_vm(USER, replace(SMALL, name="fresh", template="made"))
        assert await said(pool, "fresh", "cat sub/copied") == "hello\n"
        await pool.delete_vm(USER, "fresh")
        await clear(pool, world)


async def test_what_was_done_is_not_done_again(serve: Serve, world: World) -> None:
    async with serve() as pool:
        steps = (run("echo one > a"), run("hostname > when; echo two > b"))
        first, _ = await built(pool, *steps)
        same, log = await built(pool, *steps, replace=True)
        assert same.state is BuildState.READY and "steps 1 to 2 of 2: as they were built before" in log
        (made,) = await pool.templates.list(USER)
        assert made.id == same.template_id != first.template_id
        more, log = await built(pool, *steps, run("cat when > again"), name="more")
        assert "steps 1 to 2 of 3" in log and more.step == 3
        fresh, log = await built(pool, *steps, name="fresh", fresh=True)
        assert "as they were" not in log and fresh.state is BuildState.READY
        await pool.create_vm(USER, replace(SMALL, name="vm-1", template="more"))
        await pool.create_vm(USER, replace(SMALL, name="vm-2", template="made"))
        await pool.create_vm(USER, replace(SMALL, name="vm-3", template="fresh"))
        assert await said(pool, "vm-1", "cat a b") == "one\ntwo\n"
        assert await said(pool, "vm-1", "cat when") == await said(pool, "vm-1", "cat again")
        when = [await said(pool, name, "cat when") for name in ("vm-1", "vm-2", "vm-3")]
        assert when[0] == when[1] != when[2]
        for name in ("vm-1", "vm-2", "vm-3"):
            await pool.delete_vm(USER, name)
        of_it, log = await built(pool, run("cat b"), name="of-it", base="more")
        assert "two\n" in log and of_it.base == "more"
        found = {one.name: one for one in await pool.templates.list(USER)}
        assert found["of-it"].parent_id == found["more"].id and found["of-it"].base == "bash"
        await clear(pool, world)


async def test_a_step_that_fails_leaves_its_log_only(serve: Serve, world: World) -> None:
    async with serve() as pool:
        build, log = await built(pool, run("echo fine"), run("echo about to fail; exit 3"), run("true"))
        assert (build.state, build.step, build.template_id) == (BuildState.FAILED, 1, None)
        assert build.failure is not None
        assert build.failure.startswith(
            "step 2 of 3 (run echo about to fail; exit 3) ended with exit code 3:\n"
        )
        assert build.failure.endswith("about to fail") and log.endswith(f"{build.failure}\n")
        assert await pool.templates.list(USER) == [] == await pool.list_vms(USER)
        again, log = await built(pool, run("echo fine"), run("echo now it does not"))
        assert again.state is BuildState.READY and "steps 1 to 1 of 2: as they were" in log
        slow, _ = await built(pool, run("sleep 60", timeout=0.3), name="slow")
        assert slow.failure is not None and "took longer than 0.3 seconds" in slow.failure
        refused, _ = await built(pool, Step(files={"/proc/none": ""}), name="refused")
        assert refused.failure is not None and "could not be done" in refused.failure
        assert [one.name for one in await pool.templates.list(USER)] == ["made"]
        await clear(pool, world)


async def test_cancelled_and_deleted(serve: Serve, world: World) -> None:
    async with serve() as pool:
        build = await begin(pool, run("echo begun; sleep 60"))

        async def begun() -> bool:
            return b"begun\n" in await pool.builds.log(USER, build.id, 0)

        await eventually(begun)
        (vm,) = await pool.list_vms(USER)
        assert vm.build_id == build.id
        cancelled = await pool.builds.cancel(USER, build.id)
        assert cancelled.state is BuildState.CANCELLED
        assert await pool.list_vms(USER) == [] == await pool.templates.list(USER)
        with pytest.raises(BuildEnded):
            await pool.builds.cancel(USER, build.id)
        other = await begin(pool, run("echo begun; sleep 60"))
        build = other
        await eventually(begun)
        await pool.delete_vm(USER, f"build-{other.id}")
        lost, _ = await ended(pool, other)
        assert lost.state is BuildState.FAILED
        await clear(pool, world)


async def test_a_server_that_ends_leaves_a_build_that_failed(serve: Serve, world: World) -> None:
    async with serve() as pool:
        build = await begin(pool, run("echo one > a"), run("echo begun; sleep 60"))

        async def begun() -> bool:
            return b"begun\n" in await pool.builds.log(USER, build.id, 0)

        await eventually(begun)
    async with serve() as pool:

        async def settled() -> bool:
            return await pool.list_vms(USER) == []

        await eventually(settled)
        found, log = await ended(pool, build)
        assert found.state is BuildState.FAILED and found.failure == "the server ended while it was built"
        assert "begun\n" in log
        again, log = await built(pool, run("echo one > a"), run("cat a"))
        assert again.state is BuildState.READY and "steps 1 to 1 of 2: as they were" in log
        await clear(pool, world)


async def test_what_cannot_be_is_refused_at_once(serve: Serve, world: World) -> None:
    async with serve() as pool:
        for steps in ((), (Step(),), (Step(run="a", packages=("b",)),), (Step(packages=("a",), cwd="b"),)):
            with pytest.raises(InvalidRequest):
                await begin(pool, *steps)
        with pytest.raises(InvalidRequest):
            await begin(pool, run("true"), name="python")
        with pytest.raises(TemplateNotFound):
            await begin(pool, run("true"), base="nowhere")
        await built(pool, run("true"))
        with pytest.raises(Conflict):
            await begin(pool, run("true"))
        with pytest.raises(BuildNotFound):
            await pool.builds.get(USER + 1, 1)
        many = TemplateSettings(most=1)
        pool._context.settings = replace(pool.settings, templates=many)
        full, _ = await built(pool, run("echo"), name="one-more")
        assert full.failure is not None and "you have 1 templates" in full.failure
        replaced, _ = await built(pool, run("echo"), replace=True)
        assert replaced.state is BuildState.READY
        await clear(pool, world)


async def test_what_is_kept_for_builds_is_bounded(serve: Serve, world: World) -> None:
    async with serve() as pool:
        none = TemplateSettings(cache_bytes=0)
        pool._context.settings = replace(pool.settings, templates=none)
        steps = (files(a="x" * 100_000), files(b="y" * 100_000))
        await built(pool, *steps)
        other, _ = await built(pool, *steps, name="other")
        assert other.state is BuildState.READY, other
        held = await pool._store.templates.held()
        assert len(held) <= 2  # of the templates themselves, not of the steps before
        await pool.create_vm(USER, replace(SMALL, name="fresh", template="other"))
        assert await said(pool, "fresh", "cat b") == "y" * 100_000
        await pool.delete_vm(USER, "fresh")
        await clear(pool, world)
