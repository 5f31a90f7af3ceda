"""Changes of a machine's files, told as they happen, on every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest

from tests.conformance.backends import Power
from tests.conformance.box import Box
from vmpool.agent.files import AgentFiles
from vmpool.agent.watching import Change, ChangeKind
from vmpool.errors import AgentRefused

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


class Watching:
    """What is told, as it comes."""

    def __init__(self, changes: AsyncIterator[list[Change]]) -> None:
        self._changes = changes

    async def until(self, wanted: Change) -> list[Change]:
        """All that is told up to this."""
        seen: list[Change] = []
        with anyio.fail_after(60):
            while wanted not in seen:
                seen += await anext(self._changes)
        return seen


@asynccontextmanager
async def watching(files: AgentFiles, path: bytes, *, recursive: bool = True) -> AsyncIterator[Watching]:
    async with aclosing(await files.watch(path, recursive=recursive)) as watch:
        yield Watching(watch.changes())


async def write(files: AgentFiles, path: bytes, data: bytes = b"x") -> None:
    await files.write_soon(path, data, parents=True).wait()


async def test_what_the_host_changes_is_told(box: Box) -> None:
    files = box.client.files
    await files.make_directory(b"told", existing=True)
    async with watching(files, b"told") as told:
        await write(files, b"told/in/file")
        await told.until(Change(ChangeKind.CREATED, b"in/file"))
        await write(files, b"told/in/file", b"more")
        await told.until(Change(ChangeKind.CHANGED, b"in/file"))
        await files.move(b"told/in/file", b"told/moved")
        await told.until(Change(ChangeKind.MOVED, b"moved", False, b"in/file"))
        await files.remove(b"told/moved")
        await told.until(Change(ChangeKind.REMOVED, b"moved"))


async def test_what_lies_below_is_told_only_if_asked(box: Box) -> None:
    files = box.client.files
    await files.make_directory(b"flat/inner", parents=True)
    async with watching(files, b"flat", recursive=False) as told:
        await write(files, b"flat/inner/x")
        await write(files, b"flat/end")
        seen = await told.until(Change(ChangeKind.CREATED, b"end"))
        assert not [change for change in seen if change.path.startswith(b"inner/")]


async def test_the_end_of_what_is_watched_ends_it(box: Box) -> None:
    files = box.client.files
    await files.make_directory(b"ends")
    async with aclosing(await files.watch(b"ends", recursive=True)) as watch:
        await files.remove(b"ends")
        with anyio.fail_after(60):
            found = [change async for some in watch.changes() for change in some]
        assert found[-1].path == b"" and found[-1].kind is ChangeKind.REMOVED


@pytest.mark.parametrize(("path", "reason"), [(b"nowhere", "not_found"), (b"afile", "not_a_directory")])
async def test_what_cannot_be_watched(box: Box, path: bytes, reason: str) -> None:
    await write(box.client.files, b"afile")
    with pytest.raises(AgentRefused) as refused:
        await box.client.files.watch(path, recursive=True)
    assert refused.value.reason == reason


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_what_programs_change_is_told(box: Box) -> None:
    files = box.client.files
    await files.make_directory(b"programs", existing=True)
    async with watching(files, b"programs") as told:
        await box.output(
            "cd programs; mkdir -p a/b/c; echo x > a/b/c/f; mv a z; echo y >> z/b/c/f; echo end > end"
        )
        seen = await told.until(Change(ChangeKind.CREATED, b"end"))
        assert {change.path for change in seen} >= {b"a", b"z", b"end"}
        await box.output("echo z >> programs/z/b/c/f")
        await told.until(Change(ChangeKind.CHANGED, b"z/b/c/f"))
