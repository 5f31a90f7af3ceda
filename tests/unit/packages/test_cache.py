"""The cache on disk: bounded, and what was unused for longest goes first."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vmpool.packages.cache import Cache

pytestmark = pytest.mark.anyio


def name(of: str) -> str:
    return hashlib.sha256(of.encode()).hexdigest()


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def keep(cache: Cache, of: str, size: int) -> Path:
    part = cache.part()
    part.write_bytes(b"x" * size)
    return await cache.keep(name(of), part)


async def opened(directory: Path, max_bytes: int) -> Cache:
    cache = Cache(directory, max_bytes)
    await cache.open()
    return cache


async def test_what_was_unused_for_longest_makes_room(tmp_path: Path) -> None:
    cache = await opened(tmp_path, 100)
    for of in ("a", "b"):
        await keep(cache, of, 40)
    assert await cache.find(name("a")) is not None
    await keep(cache, "c", 40)
    assert await cache.find(name("b")) is None
    assert cache.bytes == 80
    assert names(tmp_path) == {name("a"), name("c")}


async def test_a_new_server_finds_what_is_there_in_order_of_use_and_removes_what_was_begun(
    tmp_path: Path,
) -> None:
    cache = await opened(tmp_path, 100)
    for of in ("a", "b"):
        await keep(cache, of, 40)
    assert await cache.find(name("a")) is not None
    cache.part().write_bytes(b"begun")
    again = await opened(tmp_path, 60)
    assert names(tmp_path) == {name("a")}
    assert again.bytes == 40


async def test_the_same_name_again_replaces_and_counts_once(tmp_path: Path) -> None:
    cache = await opened(tmp_path, 100)
    await keep(cache, "a", 40)
    await keep(cache, "a", 50)
    assert cache.bytes == 50


async def test_a_file_somebody_has_removed_is_not_there(tmp_path: Path) -> None:
    cache = await opened(tmp_path, 100)
    (await keep(cache, "a", 40)).unlink()
    assert await cache.find(name("a")) is None
    assert cache.bytes == 0


async def test_one_that_is_larger_than_everything_stays_until_the_next(tmp_path: Path) -> None:
    cache = await opened(tmp_path, 10)
    await keep(cache, "a", 40)
    assert await cache.find(name("a")) is not None
    await keep(cache, "b", 5)
    assert await cache.find(name("a")) is None
