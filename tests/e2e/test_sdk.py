"""The SDK against a real server on the embedded backend; the specification's examples run as written."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from contextlib import aclosing, closing
from pathlib import Path

import anyio
import pytest

import vmpool
from vmpool import AsyncClient, BatchError, Client, Execution
from vmpool.client import errors

from .conftest import Site
from .pools import Pool

pytestmark = pytest.mark.timeout(120)
EXAMPLES = Path(__file__).parents[2] / "examples"

CREATE_AND_USE = """
# Create VM
vm = await create_vm(
    name="test-vm",
    language="python",
    cpu_limit=1.0,
    memory_limit=512
)

# Execute code
result = await execute_in_vm(
    vm_id=vm.id,
    code="print('Hello from VM!')"
)

print(result.output)  # "Hello from VM!"
"""
BATCH = """
# Execute in all VMs
results = await batch_execute(
    code="import sys; print(sys.version)",
    vm_ids=[vm1.id, vm2.id, vm3.id]
)

for result in results:
    print(f"VM {result.vm_id}: {result.output}")
"""


@pytest.fixture
def here(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The site's server as this process's own."""
    for name, value in site.env.items():
        monkeypatch.setenv(name, value)
    return site


def _as_written(text: str, **names: object) -> None:
    """Run statements with `await` at the top, as they stand in the specification."""
    code = compile(text, "<specification>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    scope = {name: getattr(vmpool, name) for name in ("create_vm", "execute_in_vm", "batch_execute")}

    async def main() -> None:
        running = eval(code, {**scope, **names})
        assert inspect.iscoroutine(running)
        await running

    anyio.run(main)


def test_the_specifications_first_example(here: Site, capsys: pytest.CaptureFixture[str]) -> None:
    _as_written(CREATE_AND_USE)
    assert capsys.readouterr().out == "Hello from VM!\n\n"


def test_the_specifications_second_example(here: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with Client() as client:
        vms = [client.create_vm(f"vm{number}", "python") for number in (1, 2, 3)]
    _as_written(BATCH, vm1=vms[0], vm2=vms[1], vm3=vms[2])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("VM ")]
    assert [line.split(":")[0] for line in lines] == [f"VM {vm.id}" for vm in vms]
    assert all(line.split(": ")[1].startswith("3.") for line in lines)


@pytest.mark.parametrize(
    ("example", "shown"),
    [
        ("create_and_use.py", "Hello from VM!"),
        ("batch.py", "VM "),
        ("versions.py", "python"),
        ("parallel_tests.py", "20 of 20 passed"),
    ],
)
def test_the_examples_run(here: Site, example: str, shown: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / example],
        env=here.env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout
    assert here.data("list") == []


def test_a_walk_through_the_synchronous_client(here: Site) -> None:
    with Client(here.url, here.key) as client:
        assert client.health().status == "ok"
        assert client.ready().ready
        vm = client.create_vm("a", "python", env={"X": "1"}, labels={"k": "v"}, memory_limit=256)
        assert (vm.name, vm.status, vm.memory_limit, vm.env_names) == ("a", "running", 256, ["X"])
        assert [one.id for one in client.list_vms()] == [vm.id]

        result = vm.execute("import os; print(os.environ['X']); open('file', 'w').write('kept')")
        assert (result.ok, result.output, result.vm_id) == (True, "1\n", vm.id)
        assert client.execute("a", command="cat file").output == "kept"
        failed = vm.execute("raise SystemExit(3)")
        assert (failed.ok, failed.exit_code) == (False, 3)
        assert [one.id for one in vm.executions(limit=2)] == [failed.id, failed.id - 1]
        assert client.get_execution(vm.id, result.id).output == "1\n"

        snapshot = vm.snapshot("s")
        vm.execute("open('file', 'w').write('changed')")
        assert [one.id for one in vm.snapshots()] == [snapshot.id]
        assert vm.restore(snapshot).id == vm.id
        assert vm.execute(command="cat file").output == "kept"

        assert vm.stop().status == "stopped"
        assert vm.refresh().status == "stopped"
        assert vm.start().status == "running"
        assert vm.restart().status == "running"
        assert vm.execute(command="cat file").output == "kept"
        assert vm.usage().status == "running"
        assert vm.change_limits(cpu_limit=0.5).cpu_limit == 0.5
        assert "1\n" in [entry.text for entry in vm.logs()]
        assert client.pool_status().use.vms == 1
        vm.delete()
        with pytest.raises(errors.VMNotFound):
            vm.refresh()


def test_a_walk_through_the_asynchronous_client(here: Site) -> None:
    async def main() -> None:
        async with AsyncClient(here.url, here.key) as client:
            async with await client.create_vm("a", "python") as vm:
                outputs: dict[int, str] = {}

                async def run(number: int) -> None:
                    outputs[number] = (await vm.execute(f"print({number} ** 2)")).output

                async with anyio.create_task_group() as tasks:
                    for number in range(8):
                        tasks.start_soon(run, number)
                assert outputs == {number: f"{number**2}\n" for number in range(8)}
            assert await client.list_vms() == []

    anyio.run(main)


def test_a_batch_gives_each_vm_its_result_or_its_failure(here: Site) -> None:
    with Client() as client:
        running, stopped = client.create_vm("a", "python"), client.create_vm("b", "python")
        stopped.stop()
        first, second = client.batch_execute("print('here')", [running.id, "b"])
        assert isinstance(first, Execution)
        assert (first.vm_id, first.output) == (running.id, "here\n")
        assert isinstance(second, BatchError)
        assert isinstance(second.problem.as_error(), errors.VMNotRunning)
        assert [result.vm_id for result in client.batch_execute("print(1)")] == [running.id]


def test_ten_vms_give_their_results_as_they_end(pool: Pool) -> None:
    vms = [
        pool.client.create_vm(f"vm-{place}", "bash", env={"NAP": nap})
        for place, nap in enumerate(["600", *["0"] * 9])
    ]
    with closing(pool.client.batch_stream(command="sleep $NAP; hostname")) as arrivals:
        early = dict(next(arrivals) for _ in range(9))
        assert {place: result.output for place, result in early.items()} == {
            place: f"vm-{place}\n" for place in range(1, 10)
        }
        vms[0].stop()
        ((place, last),) = arrivals
    assert (place, last.vm_id, last.ok) == (0, vms[0].id, False)


def test_a_batch_as_a_function_gives_its_results_as_they_end(here: Site) -> None:
    with Client() as client:
        vms = [client.create_vm(name, "bash") for name in ("a", "b")]

    async def main() -> dict[int, str]:
        return {place: result.output async for place, result in vmpool.batch_stream(command="hostname")}

    assert anyio.run(main) == {place: f"{vm.name}\n" for place, vm in enumerate(vms)}


def test_output_can_be_followed_from_both_clients(here: Site) -> None:
    with Client() as client:
        vm = client.create_vm("a", "bash")
        vm.execute("echo before")
        with closing(vm.follow_logs(tail=1)) as entries:
            assert next(entries).text == "before\n"

    async def main() -> None:
        async with AsyncClient() as client, aclosing(client.follow_logs("a", tail=0)) as entries:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_say_soon, client)
                assert (await anext(entries)).text == "live\n"

    anyio.run(main)


async def _say_soon(client: AsyncClient) -> None:
    # Said again and again: the follower hears what is written from when the server has it.
    for _ in range(20):
        await client.execute("a", "echo live")


def test_a_handle_deletes_its_vm_whatever_ends_the_block(here: Site) -> None:
    async def main() -> None:
        async with AsyncClient() as client:
            with pytest.raises(ZeroDivisionError):
                async with await client.create_vm("a", "bash"):
                    raise ZeroDivisionError
            with anyio.move_on_after(1.0) as scope:
                async with await client.create_vm("b", "bash") as vm:
                    await vm.execute("sleep 60")
            assert scope.cancelled_caught
            async with await client.create_vm("c", "bash") as vm:
                await vm.delete()
            assert await client.list_vms() == []

    anyio.run(main)


def test_errors_are_the_servers_by_code(here: Site) -> None:
    with Client() as client:
        vm = client.create_vm("a", "bash")
        with pytest.raises(errors.NameTaken) as taken:
            client.create_vm("a", "bash")
        assert (taken.value.status, taken.value.code) == (409, "name_taken")
        assert taken.value.request_id
        with pytest.raises(errors.InvalidRequest) as invalid:
            client.create_vm("b", "bash", cpu_limit=-1)
        assert invalid.value.field == "cpu_limit"
        with pytest.raises(errors.InvalidRequest, match="language"):
            client.create_vm("b", "cobol")
        vm.stop()
        with pytest.raises(errors.VMNotRunning):
            vm.execute("true")
    with Client(here.url, "vmp_wrong") as stranger, pytest.raises(errors.Unauthenticated):
        stranger.list_vms()


def test_the_eleventh_vm_is_refused_and_says_when_to_come_back(here: Site) -> None:
    with Client() as client:
        for number in range(10):
            client.create_vm(f"vm-{number}", "bash", memory_limit=64)
        with pytest.raises(errors.QuotaExceeded) as refused:
            client.create_vm("vm-10", "bash")
    assert refused.value.retryable
    assert refused.value.retry_after


def test_users_and_keys(here: Site) -> None:
    with Client() as owner:
        made = owner.admin.create_user("guest")
        assert "guest" in [user.name for user in owner.admin.list_users()]
        owner.create_vm("mine", "bash")
        with Client(here.url, made.key.key) as guest:
            assert guest.list_vms() == []
            with pytest.raises(errors.VMNotFound):
                guest.get_vm("mine")
            with pytest.raises(errors.Forbidden):
                guest.admin.list_users()
            second = guest.create_key("second")
            assert {key.name for key in guest.list_keys()} >= {"second"}
            guest.revoke_key(second.id)
            with Client(here.url, second.key) as revoked, pytest.raises(errors.Unauthenticated):
                revoked.list_vms()


def test_administration(here: Site) -> None:
    with Client() as owner:
        made = owner.admin.create_user("ada-of-the-sdk", max_vms=1)
        assert owner.admin.get_user(made.id).max_vms == 1
        with Client(here.url, made.key.key) as ada:
            ada.create_vm("hers", "bash")
            with pytest.raises(errors.QuotaExceeded):
                ada.create_vm("second", "bash")
            reader = ada.create_key("look", ttl=60, scopes=["read"])
            with Client(here.url, reader.key) as looking:
                assert [vm.name for vm in looking.list_vms()] == ["hers"]
                with pytest.raises(errors.InsufficientScope, match="'manage'"):
                    looking.delete_vm("hers")
            successor = ada.rotate_key(reader.id, overlap=0)
            with Client(here.url, reader.key) as looking, pytest.raises(errors.Unauthenticated):
                looking.list_vms()
            assert owner.admin.update_user(made.id, disabled=True).disabled_at is not None
            with pytest.raises(errors.UserDisabled):
                ada.list_vms()
            assert [vm.status for vm in owner.admin.list_vms() if vm.name == "hers"] == ["stopped"]
            assert [use.vms for use in owner.admin.list_use() if use.user.id == made.id] == [1]
            assert owner.admin.update_user(made.id, disabled=False, max_vms=None).max_vms is None
            spare = owner.admin.create_key(made.id, "spare", scopes=["execute"])
            assert {successor.id, spare.id} <= {key.id for key in owner.admin.list_keys(made.id)}
            owner.admin.revoke_key(made.id, spare.id)
            ada.delete_vm("hers")
        acts = [entry.action for entry in owner.admin.list_audit(user_id=made.id)]
        assert (acts[0], acts[-1]) == ("delete_vm", "create_vm")
        assert len(owner.admin.list_audit(limit=2)) == 2
        assert [entry.facts for entry in owner.admin.list_audit(action="update_user", limit=2)] == [
            {"disabled": False, "max_vms": None},
            {"disabled": True},
        ]


def test_the_functions(here: Site) -> None:
    async def main() -> None:
        vm = await vmpool.create_vm("a", "bash")
        assert [one.id for one in await vmpool.list_vms()] == [vm.id]
        await vmpool.execute_in_vm("a", "echo kept > file")
        snapshot = await vmpool.snapshot_vm("a", "s")
        assert (await vmpool.stop_vm("a")).status == "stopped"
        assert (await vmpool.start_vm("a")).status == "running"
        assert (await vmpool.restart_vm(vm.id)).status == "running"
        await vmpool.execute_in_vm("a", "rm file")
        await vmpool.restore_vm("a", snapshot.id)
        assert (await vmpool.execute_in_vm("a", command="cat file")).output == "kept\n"
        assert (await vmpool.get_vm("a")).status == "running"
        assert (await vmpool.pool_status()).use.vms == 1
        await vmpool.delete_vm("a")
        assert await vmpool.list_vms() == []

    anyio.run(main)


def test_the_functions_start_a_server_where_none_runs(fresh: Site) -> None:
    program = (
        "import asyncio, vmpool\n"
        "async def main():\n"
        "    vms = await asyncio.gather(*(vmpool.create_vm(f'vm-{n}', 'bash') for n in range(3)))\n"
        "    print(len(vms))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=fresh.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert "starting one" in done.stderr
    assert (fresh.state_dir / "server.log").read_text().count("vmpool serves at") == 1
