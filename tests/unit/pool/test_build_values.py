"""Digests of steps, and logs of builds."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from vmpool.domain.template_build import Step, digests
from vmpool.pool.building import log as logs
from vmpool.pool.building.log import BuildLog, whole


def test_a_digest_is_of_all_that_came_before() -> None:
    one, two = Step(run="one"), Step(run="two")
    first = digests("python", [one, two])
    assert first[:1] == digests("python", [one]) and first[1] != digests("python", [two])[0]
    assert digests("python3", [one]) != digests("python", [one])
    assert digests("python", [Step(run="one", env={"A": "1"})]) != digests("python", [one])
    assert digests("python", [Step(run="one", timeout=5)]) == digests("python", [one])
    assert digests("python", [Step(packages=("a", "b"))]) != digests("python", [Step(packages=("a b",))])
    assert digests("python", [Step(files={"a": "1"})]) != digests("python", [Step(files={"a": "2"})])


@pytest.mark.parametrize(
    ("piece", "kept"),
    [
        (b"", b""),
        (b"abc", b"abc"),
        ("ä".encode(), "ä".encode()),
        (b"ab\xc3", b"ab"),
        (b"ab\xf0\x9f\x98", b"ab"),
        ("a😀".encode(), "a😀".encode()),
        (b"\xc3", b"\xc3"),
        (b"\x80\x80\x80\x80\x80", b"\x80\x80\x80\x80\x80"),
        (b"\xff", b"\xff"),
    ],
)
def test_no_character_is_cut(piece: bytes, kept: bytes) -> None:
    assert whole(piece) == kept


@pytest.mark.anyio
async def test_readers_get_it_as_it_grows_and_no_more_than_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LONGEST", 1000)
    log = BuildLog(tmp_path / "builds" / "1.log")
    got = bytearray()

    async def read() -> None:
        async for at, piece in log.follow(0):
            assert at == len(got)
            got.extend(piece)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        for number in range(200):
            await log.write(b"line %d\n" % number)
        log.end()
    assert bytes(got).endswith(logs.CUT) and len(got) == 1000 + len(logs.CUT) == log.size
    assert got.startswith(b"line 0\nline 1\n")
