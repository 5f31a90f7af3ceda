"""Contexts in real machines: each language's kernel, by the pool that stands on the backend."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.conformance.backends import Power, World
from vmpool.domain import VM
from vmpool.domain.code_context import CellResult, CellState, ContextState, Raised, Shown, Text
from vmpool.errors import ContextDead
from vmpool.pool.contexts.cell import Cell
from vmpool.pool.requests import VMRequest
from vmpool.pool.settings import PoolSettings
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.warm_pool.bounds import Bounds
from vmpool.store import open_store

REAL = pytest.mark.requires(Power.REAL_PROGRAMS)
EVERY_LANGUAGE = pytest.mark.requires(Power.ALL_LANGUAGES)
SETTINGS = PoolSettings(host_memory=100_000, warm_pool=Bounds(maximum=0))
FOREVER = {"python": "while True: pass", "nodejs": "while (true) {}", "bash": "while :; do :; done"}
ASLEEP = {
    "python": "import subprocess; subprocess.run(['sleep', '60'])",
    "nodejs": "await new Promise(() => {})",
    "bash": "sleep 60",
}
SET = {"python": "x = 41", "nodejs": "const x = 41", "bash": "x=41"}
GET = {"python": "print(x)", "nodejs": "console.log(x)", "bash": "echo $x"}
END = {"python": "import os; os._exit(7)", "nodejs": "process.exit(7)", "bash": "exit 7"}


class Site:
    """A pool with one VM, and its contexts by language."""

    def __init__(self, pool: VMPoolManager, vm: VM) -> None:
        self.pool = pool
        self.vm = vm

    async def make(self, language: str) -> int:
        return (await self.pool.contexts.create(self.vm, language, None, {})).context.id

    async def begin(self, context: int, code: str, timeout: float = 30) -> Cell:
        return await self.pool.contexts.run(self.vm, context, code, timeout)

    async def run(self, context: int, code: str, timeout: float = 30) -> CellResult:
        cell = await self.begin(context, code, timeout)
        await cell.done.wait()
        return cell.result


@asynccontextmanager
async def site_on(world: World, directory: Path, template: str) -> AsyncIterator[Site]:
    async with (
        open_store(f"sqlite:///{directory}/rows.db") as store,
        world.backend() as backend,
        VMPoolManager(store, backend, SETTINGS, state_dir=directory) as pool,
    ):
        user = (await store.users.ensure("ada")).id
        found = [vm for vm in await pool.list_vms(user) if vm.name == "box"]
        vm = found[0] if found else await pool.create_vm(user, VMRequest(name="box", language=template))
        yield Site(pool, vm)


@pytest.fixture
async def site(world: World, tmp_path: Path) -> AsyncIterator[Site]:
    async with site_on(world, tmp_path, "python") as opened:
        yield opened


def written(result: CellResult, stream: str = "stdout") -> str:
    return "".join(one.text for one in result.outputs if isinstance(one, Text) and one.stream == stream)


def forms(result: CellResult) -> dict[str, object]:
    return next(dict(one.forms) for one in result.outputs if isinstance(one, Shown))


async def test_it_remembers_and_can_be_interrupted(site: Site) -> None:
    context = await site.make("python")
    await site.run(context, "x = 41")
    result = await site.run(context, "x + 1")
    assert (result.number, result.state, forms(result)) == (2, CellState.OK, {"text/plain": "42"})
    cell = await site.begin(context, "print('on')\nwhile True: pass")
    with anyio.fail_after(10):
        async with aclosing(cell.follow()) as outputs:
            assert await anext(outputs) == Text("stdout", "on\n")
        await site.pool.contexts.interrupt(site.vm, context)
        await cell.done.wait()
    assert cell.state is CellState.INTERRUPTED
    assert forms(await site.run(context, "x")) == {"text/plain": "41"}
    await site.pool.contexts.delete(site.vm, context)
    assert await site.pool.contexts.list(site.vm) == []


@REAL
async def test_what_a_notebook_shows(site: Site) -> None:
    context = await site.make("python")
    rich = """
class Rich:
    def _repr_html_(self): return '<b>'
    def _repr_png_(self): return bytes([1, 2])
    def _repr_svg_(self): return '<svg/>'
    def _repr_json_(self): return {'a': [1]}
    def __repr__(self): return 'rich'
Rich()
"""
    assert forms(await site.run(context, rich)) == {
        "text/html": "<b>",
        "image/png": base64.b64encode(b"\x01\x02").decode(),
        "image/svg+xml": "<svg/>",
        "application/json": {"a": [1]},
        "text/plain": "rich",
    }
    shown = await site.run(context, "display({'text/html': '<i>'}, raw=True)\n1;")
    assert shown.outputs == (Shown({"text/html": "<i>"}, False),)
    mixed = "import os, sys\nprint('a'); os.system('echo b; echo c >&2'); sys.stderr.write('d\\n'); _"
    result = await site.run(context, mixed)
    assert written(result) == "a\nb\n" and sorted(written(result, "stderr").split()) == ["c", "d"]
    failed = await site.run(context, "def f():\n    raise ValueError('no')\nf()")
    error = failed.outputs[-1]
    assert isinstance(error, Raised) and (error.name, error.value) == ("ValueError", "no")
    assert "raise ValueError('no')" in error.trace and "kernel_python" not in error.trace
    assert forms(await site.run(context, "import asyncio\nawait asyncio.sleep(0, 5)")) == {"text/plain": "5"}
    assert (await site.run(context, "input()")).state is CellState.ERROR
    assert (await site.run(context, "import sys; sys.exit(1)")).state is CellState.ERROR
    assert (await site.run(context, "os.fork() and os.wait(); 1;")).state is CellState.OK
    await site.run(context, "import signal; signal.raise_signal(signal.SIGUSR1)")
    assert (await site.pool.contexts.get(site.vm, context)).state is ContextState.DEAD


@REAL
async def test_a_flood_is_bounded(site: Site) -> None:
    context = await site.make("python")
    result = await site.run(context, "for n in range(3000): print('x' * 10_000)")
    assert result.state is CellState.OK and result.truncated
    assert sum(len(one.text) for one in result.outputs if isinstance(one, Text)) <= 8 << 20
    big = await site.run(context, "'y' * (6 << 20)")
    assert big.state is CellState.OK and len(str(forms(big)["text/plain"])) < 300_000
    assert forms(await site.run(context, "1 + 1")) == {"text/plain": "2"}


@EVERY_LANGUAGE
@pytest.mark.parametrize("language", ["python", "nodejs", "bash"])
async def test_each_language(world: World, tmp_path: Path, language: str) -> None:
    async with site_on(world, tmp_path, language) as site:
        context, other = await site.make(language), await site.make(language)
        await site.run(context, SET[language])
        assert written(await site.run(context, GET[language])) == "41\n"
        assert "41" not in written(await site.run(other, GET[language]))
        for endless in (FOREVER, ASLEEP):
            result = await site.run(context, endless[language], timeout=0.5)
            assert result.state is CellState.TIMED_OUT and result.seconds < 5
        assert written(await site.run(context, GET[language])) == "41\n"
        large = f"{'#' if language != 'nodejs' else '//'} {'é' * 200_000}\n{GET[language]}"
        assert written(await site.run(context, large)) == "41\n"
        assert (await site.run(context, "it's (\n")).state is CellState.ERROR
    async with site_on(world, tmp_path, language) as site:  # the next server
        result = await site.run(context, GET[language])
        assert (written(result), result.number) == ("41\n", 8)
        assert (await site.run(context, END[language])).state is CellState.DIED
        with pytest.raises(ContextDead, match="exit code 7"):
            await site.run(context, "1")
        await site.pool.contexts.restart(site.vm, context)
        assert "41" not in written(await site.run(context, GET[language]))


@EVERY_LANGUAGE
async def test_bash_and_node_in_their_own_ways(world: World, tmp_path: Path) -> None:
    async with site_on(world, tmp_path, "bash") as site:
        shell = await site.make("bash")
        result = await site.run(shell, 'cd /tmp; f() { echo "it\'s $1"; }; echo err >&2; false')
        assert written(result, "stderr") == "err\n"
        # Streams are in order each by itself: what went to standard error may come after it.
        assert result.state is CellState.ERROR and Raised("ExitStatus", "1", "") in result.outputs
        assert written(await site.run(shell, "f 'a\nb'; pwd; cat; echo !!")) == "it's a\nb\n/tmp\n!!\n"
        assert (await site.run(shell, "exec >/dev/null 2>&1; echo gone")).state is CellState.OK
        assert (await site.run(shell, "echo still gone")).outputs == ()


@EVERY_LANGUAGE
async def test_node_as_its_repl(world: World, tmp_path: Path) -> None:
    async with site_on(world, tmp_path, "nodejs") as site:
        node = await site.make("nodejs")
        assert forms(await site.run(node, "({a: [1, 2]})")) == {"text/plain": "{ a: [ 1, 2 ] }"}
        assert forms(await site.run(node, "await Promise.resolve(5)")) == {"text/plain": "5"}
        own = "({[Symbol.for('Jupyter.display')]() { return {'text/html': '<b>', 'text/plain': 'b'} }})"
        assert forms(await site.run(node, own)) == {"text/html": "<b>", "text/plain": "b"}
        failed = await site.run(node, "throw new TypeError('no')")
        error = failed.outputs[-1]
        assert isinstance(error, Raised) and (error.name, error.value) == ("TypeError", "no")
        assert "kernel_node" not in error.trace
        torn = await site.run(node, r"console.log('\\ud800', '\ud800', '\u{1f600}'.repeat(20000)); 1")
        text = written(torn)
        assert text == "\\ud800 \ufffd " + "\U0001f600" * 20000 + "\n"
        large = await site.run(node, "display({'text/html': '€'.repeat(3 << 20), 'a/b': 1}, {raw: true}); 1")
        assert forms(large) == {"a/b": 1}
        await site.run(node, "setTimeout(() => { throw new Error('late') }, 1); Promise.reject(1)")
        child = "require('child_process').execSync('echo child', {stdio: 'inherit'}); 1"
        result = await site.run(node, child)
        assert "child\n" in written(result, "stderr") and result.state is CellState.OK
