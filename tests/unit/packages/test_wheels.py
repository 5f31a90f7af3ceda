"""What an interpreter cannot install is not sent to it, and everything it can is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vmpool.packages.wheels import Interpreter

SAID: dict[str, Any] = {
    "cpu": "x86_64",
    "distro": {"libc": {"lib": "glibc", "version": "2.36"}},
    "implementation": {"name": "CPython", "version": "3.11.2"},
    "python": "3.11.2",
    "system": {"name": "Linux"},
}
HERE = Interpreter(11, "x86_64")


def said(**changes: object) -> str:
    return f"pip/23.0.1 {json.dumps({**SAID, **changes})}"


def test_pip_says_what_it_runs_on() -> None:
    assert Interpreter.of(said()) == HERE
    assert Interpreter.of(said(python="3.13.0rc1", cpu="aarch64")) == Interpreter(13, "aarch64")


@pytest.mark.parametrize(
    "agent",
    [
        "",
        "curl/8.0",
        "pip/23.0.1",
        "pip/23.0.1 {",
        "pip/23.0.1 []",
        said(python=3),
        said(python="2.7.18"),
        said(cpu=None),
        said(system={"name": "Darwin"}),
        said(implementation={"name": "PyPy"}),
        said(distro={"libc": {"lib": "musl"}}),
        said(distro=None),
    ],
)
def test_for_anybody_else_nothing_is_left_out(agent: str) -> None:
    assert Interpreter.of(agent) is None


@pytest.mark.parametrize(
    ("tags", "installs"),
    [
        ("py3-none-any", True),
        ("py2.py3-none-any", True),
        ("py2-none-any", False),
        ("py39-none-any", True),
        ("py312-none-any", False),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("cp311-cp311-manylinux_2_17_i686", True),
        ("cp311-cp311-linux_x86_64", True),
        ("cp311-none-any", True),
        ("cp310-cp310-manylinux2014_x86_64", False),
        ("cp312-cp312-manylinux2014_x86_64", False),
        ("cp38-abi3-manylinux2014_x86_64", True),
        ("cp312-abi3-manylinux2014_x86_64", False),
        ("cp38.cp311-cp38.cp311-manylinux1_x86_64", True),
        ("pp310-pypy310_pp73-manylinux_2_17_x86_64", False),
        ("cp311-cp311-manylinux_2_17_aarch64", False),
        ("cp311-cp311-musllinux_1_2_x86_64", False),
        ("cp311-cp311-macosx_11_0_arm64", False),
        ("cp311-cp311-win_amd64", False),
        ("py3-none-win32.manylinux1_x86_64", True),
        ("new9-abi-plan9_vax", True),
    ],
)
def test_wheels_by_their_tags(tags: str, installs: bool) -> None:
    assert HERE.may_install(f"name-1.0-{tags}.whl") is installs
    assert HERE.may_install(f"name-1.0-1build-{tags}.whl") is installs


@pytest.mark.parametrize(
    ("file", "installs"),
    [
        ("name-1.0.tar.gz", True),
        ("name-1.0.zip", True),
        ("odd.whl", True),
        ("name-1.0.egg", False),
        ("x-1.exe", False),
    ],
)
def test_other_files(file: str, installs: bool) -> None:
    assert HERE.may_install(file) is installs


def test_pip_itself_agrees() -> None:
    """Everything that pip's own list of tags for such an interpreter has is sent."""
    tags = pytest.importorskip("packaging.tags")
    platforms = ["manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    supported = [
        *tags.cpython_tags((3, 11), platforms=platforms),
        *tags.compatible_tags((3, 11), interpreter="cp311", platforms=platforms),
    ]
    assert len(supported) > 50
    assert [str(tag) for tag in supported if not HERE.may_install(f"name-1.0-{tag}.whl")] == []
