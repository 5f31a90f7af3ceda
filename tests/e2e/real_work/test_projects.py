"""A Node.js project built and tested, a chart drawn, and a large tree carried there and back."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.pools import Pool
from tests.e2e.real_work.supplies import charts

PACKAGE = {
    "name": "slug",
    "version": "1.0.0",
    "private": True,
    "type": "module",
    "scripts": {"build": "tsc", "test": "node --test build/"},
    "dependencies": {"semver": "7.8.6"},
    "devDependencies": {"typescript": "5.9.3"},
}
COMPILER = {
    "compilerOptions": {
        "target": "es2022",
        "module": "nodenext",
        "outDir": "build",
        "strict": True,
        "types": [],
    },
    "include": ["src"],
}
SOURCE = """
// @ts-ignore: it comes without types
import semver from "semver";
export function newest(versions: readonly string[]): string | null {
  return semver.maxSatisfying(versions as string[], "*");
}
"""
TEST = """
// @ts-ignore: Node's types are not installed
import test from "node:test";
// @ts-ignore
import assert from "node:assert";
import { newest } from "./newest.js";
test("the newest by its numbers, not its letters", () => {
  assert.equal(newest(["1.9.0", "1.10.0", "1.2.3"]), "1.10.0");
});
test("nothing of nothing", () => assert.equal(newest([]), null));
"""


@pytest.mark.timeout(300)
def test_a_node_project_is_installed_built_and_tested(pool: Pool, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "package.json").write_text(json.dumps(PACKAGE))
    (project / "tsconfig.json").write_text(json.dumps(COMPILER))
    (project / "src" / "newest.ts").write_text(SOURCE)
    (project / "src" / "newest.test.ts").write_text(TEST)
    _npm(
        project, "install", "--cache", "downloads", "--ignore-scripts", "--no-omit-lockfile-registry-resolved"
    )
    shutil.rmtree(project / "node_modules")
    # What was downloaded is kept under its full address.
    registry = subprocess.check_output(["npm", "config", "get", "registry"], text=True).strip()
    with pool.client.create_vm("builds", "nodejs", memory_limit=1024) as vm:
        vm.files.upload(project, "project")
        command, env = "npm ci --offline --cache downloads", {"NPM_CONFIG_REGISTRY": registry}
        install = vm.execute(command=command, cwd="project", env=env, timeout=120)
        assert install.exit_code == 0, f"{install.output}{install.error}"
        build = vm.execute(command="npm run build", cwd="project", timeout=120)
        assert build.exit_code == 0, f"{build.output}{build.error}"
        test = vm.execute(command="npm test", cwd="project", timeout=120)
        assert test.exit_code == 0, f"{test.output}{test.error}"
        assert re.search(r"^. pass [1-9]", test.output or "", re.MULTILINE), test.output
        source = "src/newest.ts"
        vm.files.write(f"project/{source}", SOURCE.replace('"*"', '"1.2.x"'))
        broken = vm.execute(command="npm run build && npm test", cwd="project", timeout=120)
        assert broken.exit_code != 0 and "1.10.0" in (broken.output or "")


def _npm(project: Path, *words: str) -> None:
    subprocess.run(["npm", *words, "--no-audit", "--no-fund"], cwd=project, check=True, timeout=120)


@pytest.mark.timeout(300)
def test_a_chart_comes_back_as_a_picture(pool: Pool) -> None:
    with pool.client.create_vm("charts", "python", memory_limit=1024) as vm:
        version = vm.execute("import sys; print('%d.%d' % sys.version_info[:2])").output or ""
        vm.files.upload(charts(version.strip()), "wheels")
        command = "pip install --quiet --no-index --find-links wheels --break-system-packages matplotlib"
        install = vm.execute(command=f"python3 -m {command}", timeout=120)
        assert install.exit_code == 0, f"{install.output}{install.error}"
        with vm.context("python") as context:
            imported = context.run("import matplotlib.pyplot as plt")
            assert imported.error is None, imported.error
            drawn = context.run("plt.figure(figsize=(4, 3), dpi=100)\nplt.plot([1, 4, 9, 16])\nNone")
    shown = [one.data for one in drawn.outputs if one.data and "image/png" in one.data]
    assert len(shown) == 1, drawn
    png = base64.b64decode(str(shown[0]["image/png"]))
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) > 5000
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    assert width > 300 and height > 200


FILES = 40
FILE_BYTES = 26 << 20
SMALL = 400
GROWTH = 96 << 20
"""Bytes that the server may have grown by at its largest, a tenth of what passes through it."""
DIGEST = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"


@pytest.mark.timeout(600)
def test_a_gigabyte_goes_in_and_out_through_a_server_that_does_not_grow(pool: Pool, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(FILES):
        path = tree / f"large {number % 5}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(FILE_BYTES))
    for number in range(SMALL):
        path = tree / "small" / f"{number % 20}" / f"ö {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n" * number)
    assert sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) > 1 << 30
    digest = _digest(tree)
    with pool.client.create_vm("large", "python", disk_limit=3072, memory_limit=1024) as vm:
        before = _largest(pool.server_pid, reset=True)
        vm.files.upload(tree, "tree")
        inside = vm.execute(command=DIGEST, cwd="tree", timeout=120)
        assert inside.output == digest, inside.error
        assert vm.files.download("tree", tmp_path / "back") == []
        assert _digest(tmp_path / "back") == digest
        assert _largest(pool.server_pid) - before < GROWTH


def _digest(tree: Path) -> str:
    return subprocess.run(["bash", "-c", DIGEST], cwd=tree, check=True, capture_output=True, text=True).stdout


def _largest(pid: int, *, reset: bool = False) -> int:
    """Bytes of memory that a process had at its largest; `reset`: counted from now on."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5)
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10
