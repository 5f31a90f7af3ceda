"""Packages from the server's own registry, with a registry of the test's behind it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.backends import Power, World
from tests.conformance.pool import SETTINGS, USER
from tests.package_index import Index, package_index
from vmpool.domain import Execution, ExecutionRequest, NetworkPolicy
from vmpool.domain.packages import PACKAGES_HOST
from vmpool.errors import Conflict, InvalidRequest, Unsupported
from vmpool.pool.requests import VMRequest
from vmpool.pool.settings import PackageSettings
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.store import open_store

pytestmark = [pytest.mark.requires(Power.REAL_PROGRAMS), pytest.mark.timeout(120)]


@pytest.fixture
def index() -> Iterator[Index]:
    with package_index() as found:
        found.add_wheel("greeting", "1.0")
        found.add_wheel("greeting", "2.0", requires="helper")
        found.add_wheel("helper", "0.1")
        yield found


@asynccontextmanager
async def serving(
    world: World, directory: Path, index: Index, **packages: Any
) -> AsyncIterator[VMPoolManager]:
    """A pool whose VMs get packages that come from `index`."""
    paths = {"pypi": "simple", "npm": "npm", "cargo": "cargo", "gem": "gems"}
    upstreams = {name: f"{index.url}/{path}/" for name, path in paths.items()}
    settings = replace(SETTINGS, packages=PackageSettings(upstreams=upstreams, **packages))
    async with (
        open_store(f"sqlite:///{directory / 'vmpool.db'}") as store,
        world.backend() as backend,
        VMPoolManager(store, backend, settings, state_dir=directory) as pool,
    ):
        await store.users.ensure("ada", admin=False)
        yield pool


async def make(pool: VMPoolManager, name: str, **more: Any) -> None:
    await pool.create_vm(USER, VMRequest(name, "python", **{"network": "filtered", **more}))


async def install(pool: VMPoolManager, vm: str, *packages: str) -> Execution:
    return await pool.execute(USER, vm, ExecutionRequest(packages=packages, timeout=60))


async def version(pool: VMPoolManager, vm: str, module: str) -> str:
    """What a program in the VM gets, which may run in an interpreter that was there before the package."""
    code = f"import {module}; print({module}.__version__)"
    result = await pool.execute(USER, vm, ExecutionRequest(code=code, timeout=30))
    assert result.outcome is not None
    return result.outcome.output + result.outcome.error


def exit_code(execution: Execution) -> int:
    assert execution.outcome is not None, execution.failure
    return execution.outcome.exit_code


async def test_what_one_vm_has_installed_the_next_gets_from_the_disk(
    world: World, tmp_path: Path, index: Index
) -> None:
    async with serving(world, tmp_path, index) as pool:
        await make(pool, "one")
        await make(pool, "two")
        assert (await version(pool, "one", "sys")).startswith("Traceback")
        first = await install(pool, "one", "greeting")
        assert exit_code(first) == 0, first.outcome
        assert first.code.endswith("-m pip install -- greeting")
        assert await version(pool, "one", "greeting") == "2.0\n"
        assert await version(pool, "one", "helper") == "0.1\n"
        asked = list(index.asked)
        assert sum(path.startswith("/files/greeting-2.0") for path in asked) == 1

        second = await install(pool, "two", "greeting==1.0", "helper")
        assert exit_code(second) == 0, second.outcome
        assert await version(pool, "two", "greeting") == "1.0\n"
        new = index.asked[len(asked) :]
        assert new == ["/files/greeting-1.0-py3-none-any.whl"], new

        reached = await pool.network_log(USER, "two")
        assert {(entry.host, entry.rule) for entry in reached} == {(PACKAGES_HOST, "packages")}
    index.pages.clear()
    async with serving(world, tmp_path, index) as pool:  # the next server has the same disk
        await make(pool, "three")
        assert exit_code(await install(pool, "three", "greeting")) == 0


async def test_a_vm_without_network_reaches_the_registry_and_nothing_else(
    world: World, tmp_path: Path, index: Index
) -> None:
    async with serving(world, tmp_path, index, without_network=True) as pool:
        await make(pool, "box", network="none")
        done = await install(pool, "box", "greeting")
        assert exit_code(done) == 0, done.outcome
        assert await version(pool, "box", "greeting") == "2.0\n"
        code = (
            "import urllib.request, urllib.error\n"
            "opener = urllib.request.build_opener(urllib.request.ProxyHandler({'http': 'http://127.0.0.1:3128'}))\n"
            f"print(opener.open('http://{PACKAGES_HOST}/pypi/simple/helper/').status)\n"
            f"for url in ('{index.url}/simple/helper/', 'http://example.org/', 'http://{PACKAGES_HOST}:81/'):\n"
            "    try:\n        print(opener.open(url).status)\n"
            "    except urllib.error.HTTPError as error:\n        print(error.code)\n"
        )
        result = await pool.execute(USER, "box", ExecutionRequest(code=code, timeout=30))
        assert result.outcome is not None
        assert result.outcome.output == "200\n403\n403\n502\n", result.outcome


async def test_where_the_operator_or_the_policy_says_no_it_is_said_before_anything_runs(
    world: World, tmp_path: Path, index: Index
) -> None:
    async with serving(world, tmp_path, index) as pool:
        await make(pool, "none", network="none")
        await make(pool, "listed", network_policy=NetworkPolicy(allow=("example.org",)))
        await make(pool, "denied", network_policy=NetworkPolicy(deny=(PACKAGES_HOST,)))
        for name, said in (("none", "without_network"), ("listed", "allow list"), ("denied", "is denied")):
            with pytest.raises(Conflict, match=said):
                await install(pool, name, "greeting")
            assert await pool.list_executions(USER, name) == []
        await make(pool, "both", network_policy=NetworkPolicy(allow=("example.org", PACKAGES_HOST)))
        assert exit_code(await install(pool, "both", "greeting")) == 0


async def test_what_has_another_hash_than_its_index_says_is_not_installed(
    world: World, tmp_path: Path, index: Index
) -> None:
    index.add_wheel("altered", "1.0", damaged=True)
    async with serving(world, tmp_path, index) as pool:
        await make(pool, "box")
        done = await install(pool, "box", "altered")
        assert done.outcome is not None
        assert done.outcome.exit_code != 0
        assert "502" in done.outcome.error + done.outcome.output
        assert "ModuleNotFoundError" in await version(pool, "box", "altered")


async def test_a_vm_is_made_with_its_packages_or_not_at_all(
    world: World, tmp_path: Path, index: Index
) -> None:
    async with serving(world, tmp_path, index) as pool:
        await make(pool, "box", packages=("greeting<2",))
        assert await version(pool, "box", "greeting") == "1.0\n"
        with pytest.raises(InvalidRequest, match="No matching distribution found for nothing-like-it"):
            await make(pool, "other", packages=("nothing-like-it",))
        with pytest.raises(InvalidRequest, match="is no package of pip's"):
            await make(pool, "other", packages=("--index-url=http://example.org",))
        assert [vm.name for vm in await pool.list_vms(USER)] == ["box"]


@pytest.mark.requires(Power.ALL_LANGUAGES)
async def test_packages_of_javascript_come_the_same_way(world: World, tmp_path: Path, index: Index) -> None:
    index.add_npm("pair", "1.0.0", requires={"@scope/half": "^0.5"})
    index.add_npm("@scope/half", "0.5.1")
    async with serving(world, tmp_path, index, without_network=True) as pool:
        for name, network in (("one", "filtered"), ("two", "none")):
            await pool.create_vm(USER, VMRequest(name, "nodejs", network=network))
            done = await install(pool, name, "pair@1")
            assert exit_code(done) == 0, done.outcome
            code = "console.log(require('pair'), require('@scope/half'))"
            result = await pool.execute(USER, name, ExecutionRequest(code=code, timeout=30))
            assert result.outcome is not None
            assert result.outcome.output == "1.0.0 0.5.1\n", result.outcome
        assert len(index.asked) == 4, index.asked


@pytest.mark.requires(Power.ALL_LANGUAGES)
async def test_programs_of_rust_come_the_same_way(world: World, tmp_path: Path, index: Index) -> None:
    index.add_crate("program", "1.2.3")
    async with serving(world, tmp_path, index) as pool:
        for name in ("one", "two"):
            await pool.create_vm(USER, VMRequest(name, "rust", network="filtered"))
            found = await pool.execute(USER, name, ExecutionRequest(command="command -v cargo", timeout=30))
            if exit_code(found) != 0:  # of bubblewrap's VMs the host's own, which may have none
                pytest.skip("there is no cargo in the VM")
            done = await install(pool, name, "program@^1.2")
            assert exit_code(done) == 0, done.outcome
            result = await pool.execute(USER, name, ExecutionRequest(command="program", timeout=30))
            assert result.outcome is not None
            assert result.outcome.output == "program 1.2.3\n", result.outcome
        assert len(index.asked) == 3, index.asked


BUILD_GEM = """
require 'rubygems/package'
require 'zlib'
Dir.mkdir('lib')
File.write('lib/greet.rb', "GREETING = 'hello from a gem'")
made = Gem::Specification.new do |about|
  about.name, about.version, about.summary = 'greet', '1.0.0', 'greets'
  about.authors, about.files = ['nobody'], ['lib/greet.rb']
end
Gem::DefaultUserInteraction.use_ui(Gem::SilentUI.new) { Gem::Package.build(made) }
parts = [File.binread('greet-1.0.0.gem'), Zlib::Deflate.deflate(Marshal.dump(made))]
puts parts.map { |part| [part].pack('m0') }
"""


@pytest.mark.requires(Power.ALL_LANGUAGES)
async def test_gems_come_the_same_way(world: World, tmp_path: Path, index: Index) -> None:
    async with serving(world, tmp_path, index) as pool:
        await pool.create_vm(USER, VMRequest("builder", "ruby", network="filtered"))
        built = await pool.execute(USER, "builder", ExecutionRequest(code=BUILD_GEM, timeout=60))
        assert exit_code(built) == 0 and built.outcome is not None, built.outcome
        index.add_gem("greet", "1.0.0", *map(b64decode, built.outcome.output.split()))
        for name in ("one", "two"):
            await pool.create_vm(USER, VMRequest(name, "ruby", network="filtered"))
            done = await install(pool, name, "greet:1.0.0")
            assert exit_code(done) == 0, done.outcome
            code = "require 'greet'; puts GREETING"
            result = await pool.execute(USER, name, ExecutionRequest(code=code, timeout=30))
            assert result.outcome is not None
            assert result.outcome.output == "hello from a gem\n", result.outcome
        assert len(index.asked) == 3, index.asked


async def test_what_needs_root_is_refused_with_what_to_do(world: World, tmp_path: Path, index: Index) -> None:
    async with serving(world, tmp_path, index) as pool:
        await make(pool, "box")
        asked = ExecutionRequest(packages=("curl",), manager="apt")
        with pytest.raises(Unsupported, match="template's image"):
            await pool.execute(USER, "box", asked)
