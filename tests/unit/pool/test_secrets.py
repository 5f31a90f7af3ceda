from __future__ import annotations

import sqlite3
from contextlib import aclosing

import pytest

from vmpool.domain import Execution, ExecutionRequest
from vmpool.errors import InvalidRequest, SecretNotFound, TooManySecrets, VMNotFound
from vmpool.network.destinations import Destination
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.watch import Piece, Position

from .world import World, command, vm_request

pytestmark = pytest.mark.anyio
VALUE = "correct-horse-battery"


async def said(pool: VMPoolManager, user: int, text: str, *secrets: str) -> str:
    result = await pool.execute(user, "test-vm", command(text, secrets=secrets))
    assert result.outcome is not None
    return result.outcome.output


async def test_given_by_name_and_hidden_everywhere(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.set_secret(world.ada, None, "TOKEN", VALUE)
    hidden = "*" * len(VALUE)
    assert await said(pool, world.ada, "echo $TOKEN", "TOKEN") == f"{hidden}\n"
    assert await said(pool, world.ada, "echo $TOKEN") == "\n"
    assert await said(pool, world.ada, "echo $TOKEN > kept; cat kept", "TOKEN") == f"{hidden}\n"
    assert await said(pool, world.ada, "cat kept") == f"{hidden}\n"  # it was not even given
    begun = await pool.start_execution(
        world.ada,
        vm.id,
        ExecutionRequest(command="echo $TOKEN; sleep 0.1; echo $TOKEN", background=True, secrets=("TOKEN",)),
    )
    seen = b""
    async with aclosing(await pool.streams.follow(world.ada, vm.id, begun.id, Position())) as following:
        async for value in following:
            seen += value.data if isinstance(value, Piece) else b""
            assert isinstance(value, Piece | Execution)
    assert seen.decode() == f"{hidden}\n{hidden}\n"
    assert all(VALUE not in entry.data for entry in await pool.logs(world.ada, vm.id))
    for row in await pool.list_executions(world.ada, vm.id):
        assert VALUE not in repr(row)
    stored = (world.state_dir / "vmpool.db-wal").read_bytes() + (world.state_dir / "vmpool.db").read_bytes()
    assert VALUE.encode() not in stored
    assert (world.state_dir / "secrets.key").stat().st_mode & 0o777 == 0o600


async def test_a_vm_s_own_comes_first_and_goes_with_it(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.set_secret(world.ada, None, "TOKEN", VALUE)
    await pool.set_secret(world.ada, "test-vm", "TOKEN", "another-one")
    assert await said(pool, world.ada, "echo $TOKEN", "TOKEN") == "*" * 11 + "\n"
    await pool.set_secret(world.ada, "test-vm", "TOKEN", "a-third-one!")
    assert await said(pool, world.ada, "echo $TOKEN", "TOKEN") == "*" * 12 + "\n"
    assert [(one.name, one.vm_id) for one in await pool.list_secrets(world.ada)] == [
        ("TOKEN", vm.id),
        ("TOKEN", None),
    ]
    await pool.delete_vm(world.ada, vm.id)
    assert [one.vm_id for one in await pool.list_secrets(world.ada)] == [None]


async def test_the_next_server_has_them_and_a_copy_without_the_key_has_not(world: World) -> None:
    async with world.server() as pool:
        await pool.set_secret(world.ada, None, "TOKEN", VALUE)
        await pool.create_vm(world.ada, vm_request())
    async with world.server() as pool:
        assert await said(pool, world.ada, "echo $TOKEN", "TOKEN") == "*" * 21 + "\n"
    (world.state_dir / "secrets.key").unlink()
    async with world.server() as pool:
        with pytest.raises(SecretNotFound):
            await said(pool, world.ada, "true", "TOKEN")
        await pool.set_secret(world.ada, None, "TOKEN", VALUE)
        assert await said(pool, world.ada, "echo $TOKEN", "TOKEN") == "*" * 21 + "\n"


async def test_a_row_that_is_moved_to_somebody_else_opens_nothing(world: World) -> None:
    async with world.server() as pool:
        await pool.set_secret(world.ada, None, "TOKEN", VALUE)
        await pool.create_vm(world.bob, vm_request())
    with sqlite3.connect(world.state_dir / "vmpool.db") as database:
        database.execute("UPDATE secrets SET user_id = ?", (world.bob,))
    database.close()
    async with world.server() as pool:
        with pytest.raises(SecretNotFound):
            await said(pool, world.bob, "true", "TOKEN")


async def test_what_is_wrong_is_said(world: World, pool: VMPoolManager) -> None:
    await pool.create_vm(world.ada, vm_request())
    for name in ("", "A-B", "1A", "A" * 65, "A\n", "\u00c4"):
        with pytest.raises(InvalidRequest):
            await pool.set_secret(world.ada, None, name, VALUE)
    with pytest.raises(InvalidRequest):
        await pool.set_secret(world.ada, None, "TOKEN", "short")
    with pytest.raises(VMNotFound):
        await pool.set_secret(world.bob, "test-vm", "TOKEN", VALUE)
    await pool.set_secret(world.ada, None, "TOKEN", VALUE)
    await pool.create_vm(world.bob, vm_request())
    with pytest.raises(SecretNotFound):
        await said(pool, world.bob, "true", "TOKEN")
    with pytest.raises(SecretNotFound):
        await pool.delete_secret(world.bob, None, "TOKEN")
    for number in range(63):
        await pool.set_secret(world.ada, None, f"N{number}", VALUE)
    with pytest.raises(TooManySecrets):
        await pool.set_secret(world.ada, None, "MORE", VALUE)


async def test_one_for_hosts_is_given_to_them_and_to_no_execution(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    hosts = ["intranet.example:8080", "192.0.2.7"]
    kept = await pool.set_secret(world.ada, None, "TOKEN", VALUE, hosts)
    assert kept.hosts == tuple(hosts)
    with pytest.raises(InvalidRequest, match=r"\{\{TOKEN\}\}"):
        await said(pool, world.ada, "true", "TOKEN")
    sent = pool._context.secrets.sent
    given = {b"TOKEN": VALUE.encode()}
    for there, found in (
        ("intranet.example:8080", given),
        ("192.0.2.7:80", given),
        ("intranet.example:80", {}),
        ("more.intranet.example:8080", {}),
        ("192.0.2.8:80", {}),
    ):
        assert sent(world.ada, vm.id, Destination.parse(there)) == found, there
    assert sent(world.bob, vm.id, Destination.parse("192.0.2.7:80")) == {}
    await pool.set_secret(world.ada, vm.id, "TOKEN", "another-one")  # the VM's own comes first
    assert sent(world.ada, vm.id, Destination.parse("192.0.2.7:80")) == {}
    assert sent(world.ada, vm.id + 1, Destination.parse("192.0.2.7:80")) == given
    for wrong in (["*"], ["*.example"], ["10.0.0.0/8"], ["a b"], ["x.example"] * 9):
        with pytest.raises(InvalidRequest):
            await pool.set_secret(world.ada, None, "TOKEN", VALUE, wrong)
    with pytest.raises(InvalidRequest):
        await pool.set_secret(world.ada, None, "TOKEN", "line one\r\nline: two", ["x.example"])


async def test_hosts_that_are_changed_in_the_database_open_nothing(world: World) -> None:
    async with world.server() as pool:
        await pool.set_secret(world.ada, None, "TOKEN", VALUE, ["a.example"])
    with sqlite3.connect(world.state_dir / "vmpool.db") as database:
        database.execute("""UPDATE secrets SET hosts = '["evil.example"]'""")
    database.close()
    async with world.server() as pool:
        assert pool._context.secrets.sent(world.ada, 1, Destination.parse("evil.example:80")) == {}


async def test_what_the_next_server_takes_over_is_hidden_too(world: World) -> None:
    async with world.server() as pool:
        await pool.set_secret(world.ada, None, "TOKEN", VALUE)
        vm = await pool.create_vm(world.ada, vm_request())
        request = ExecutionRequest(
            command="echo $TOKEN; cat; echo $TOKEN", background=True, stdin_open=True, secrets=("TOKEN",)
        )
        begun = await pool.start_execution(world.ada, vm.id, request)
        await world.until_output(pool, vm.id, "*")
    async with world.server() as pool:
        await pool.controls.write_stdin(world.ada, vm.id, begun.id, f"{VALUE}\n".encode(), close=True)
        await pool.controls.until_ended(vm.id, begun.id)
        ended = await pool.get_execution(world.ada, vm.id, begun.id)
        assert ended.outcome is not None
        assert ended.outcome.output == f"{'*' * len(VALUE)}\n" * 3
