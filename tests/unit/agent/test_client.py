"""The client against the fake agent and against the real binary."""

from __future__ import annotations

import anyio
import pytest

from tests.captured import run
from tests.unit.agent.agents import Agent
from vmpool.agent import Client, Exit, Output, ProcessSpec, open_client
from vmpool.agent.messages import WINDOW_BYTES
from vmpool.errors import AgentRefused, AgentUnreachable, BackendUnreachable, InvalidRequest

pytestmark = pytest.mark.anyio


async def test_output_apart_and_exit_code(agent: Agent, client: Client) -> None:
    captured = await run(client, 1, agent.shell("echo out; echo err >&2; exit 3"))
    assert (captured.stdout, captured.stderr) == (b"out\n", b"err\n")
    assert captured.exit.exit_code == 3
    assert not captured.truncated
    assert not captured.exit.timed_out


async def test_a_source_is_there_while_it_runs_and_gone_after(agent: Agent, client: Client) -> None:
    path = f"{agent.home}/.vmpool-1.sh"
    spec = ProcessSpec(
        ("/bin/sh", path), env=agent.env, cwd=agent.home, source=(path, b"cat " + path.encode())
    )
    assert (await run(client, 1, spec)).stdout == b"cat " + path.encode()
    with pytest.raises(AgentRefused) as refused:
        await client.read_file(path)
    assert refused.value.reason == "not_found"


async def test_many_at_once_do_not_mix(agent: Agent, client: Client) -> None:
    async def one(number: int) -> None:
        captured = await run(client, number, agent.shell(f"echo {number}; sleep 0.01; echo {number} >&2"))
        assert captured.stdout == captured.stderr == f"{number}\n".encode()

    async with anyio.create_task_group() as tasks:
        for number in range(1, 33):
            tasks.start_soon(one, number)


async def test_fixed_standard_input_small_and_larger_than_a_frame(agent: Agent, client: Client) -> None:
    for number, size in enumerate((0, 10, 3_000_000), 1):
        data = b"0123456789\n"[: size or 1] * (size // 11 or 1) if size else b""
        captured = await run(client, number, agent.shell("cat", stdin=data), inline_limit=4_000_000)
        assert captured.stdout == data


async def test_open_standard_input_is_a_conversation(agent: Agent, client: Client) -> None:
    process = await client.start(1, agent.shell("cat", stdin="open"))
    events = process.events()
    for line in (b"one\n", b"two\n"):
        await process.write_stdin(line)
        event = await anext(events)
        assert isinstance(event, Output)
        assert event.data == line
    await process.close_stdin()
    ended = await anext(events)
    assert isinstance(ended, Exit)
    assert ended.exit_code == 0
    with pytest.raises(AgentRefused):
        await process.write_stdin(b"late")
    await process.release()


async def test_the_same_id_twice_is_one_execution(agent: Agent, client: Client) -> None:
    spec = agent.shell("echo x >> count; sleep 0.2; cat count")
    first = await client.start(7, spec)
    again = await client.start(7, spec)
    assert first.pid == again.pid
    async with open_client(agent.dial) as second:
        elsewhere = await second.start(7, spec)
        assert elsewhere.already
        data = b""
        async for event in elsewhere.events():
            if isinstance(event, Output):
                data += event.data
    assert data == b"x\n"


async def test_output_is_cut_at_the_limit_and_counted(agent: Agent, client: Client) -> None:
    captured = await run(client, 1, agent.python("print('x' * 999_999)"), inline_limit=1000)
    assert captured.stdout == b"x" * 1000
    assert captured.stdout_dropped == 999_000
    assert captured.truncated


async def test_a_slow_reader_holds_the_program_back(agent: Agent, client: Client) -> None:
    process = await client.start(
        1, agent.python("import sys\nfor i in range(64): sys.stdout.write('x' * 65536)")
    )
    await anyio.sleep(0.3)
    held = sum(len(event.data) for event in process._events)
    assert 0 < held <= WINDOW_BYTES
    total = 0
    async for event in process.events():
        if isinstance(event, Output):
            assert event.offset == total
            total += len(event.data)
    assert total == 64 * 65536


async def test_signal(agent: Agent, client: Client) -> None:
    process = await client.start(1, agent.shell("sleep 60"))
    await process.signal(15, tree=True)
    ended = [event async for event in process.events()][-1]
    assert isinstance(ended, Exit)
    assert ended.exit_code == 143
    await process.signal(9)  # of one that has ended: nothing


async def test_timeout(agent: Agent, client: Client) -> None:
    captured = await run(client, 1, agent.shell("echo begun; sleep 60", timeout=0.3))
    assert captured.exit.timed_out
    assert captured.exit.signal == 9
    assert captured.stdout == b"begun\n"
    assert 0.25 < captured.exit.duration < 5


async def test_a_cancelled_run_ends_its_execution_and_nobody_elses(agent: Agent, client: Client) -> None:
    other = await client.start(2, agent.shell("sleep 0.5; echo fine"))
    with anyio.move_on_after(0.2):
        await run(client, 1, agent.shell("sleep 60"))
    with anyio.fail_after(5):
        while any(number == 1 for number, _ in await client.executions()):
            await client.ping()
    data = [event.data async for event in other.events() if isinstance(event, Output)]
    assert data == [b"fine\n"]


async def test_the_list_of_executions(agent: Agent, client: Client) -> None:
    running = await client.start(5, agent.shell("sleep 60"))
    ended = await client.start(6, agent.shell("true"))
    assert [event async for event in ended.events()]
    assert sorted(await client.executions()) == [(5, True), (6, False)]
    await ended.release()
    await running.signal(9, tree=True)
    assert [event async for event in running.events()]
    await running.release()
    assert await client.executions() == []


async def test_files(agent: Agent, client: Client) -> None:
    path = f"{agent.home}/deep/er/file"
    data = bytes(range(256)) * 8000
    with pytest.raises(AgentRefused) as refused:
        await client.write_file(path, data)
    assert refused.value.reason == "not_found"
    await client.write_file(path, data, parents=True)
    assert await client.read_file(path) == data
    await client.write_file(path, b"")
    assert await client.read_file(path) == b""
    with pytest.raises(AgentRefused) as refused:
        await client.read_file(agent.home)
    assert refused.value.reason == "not_a_file"
    await client.write_file(path, b"12345")
    with pytest.raises(InvalidRequest):
        await client.read_file(path, limit=4)


async def test_ping_and_figures(agent: Agent, client: Client) -> None:
    await client.ping()
    figures = await client.stats()
    assert figures.u64("connections") == 1
    assert figures.u64("executions") == 0


async def test_a_start_that_is_refused(agent: Agent, client: Client) -> None:
    with pytest.raises(AgentRefused) as refused:
        await client.start(1, ProcessSpec(("/bin/true",), cwd=f"{agent.home}/missing"))
    assert refused.value.dispatch == "never_dispatched"
    assert await client.executions() == []
    assert (await run(client, 1, agent.shell("echo again"))).stdout == b"again\n"


async def test_what_does_not_fit_in_a_frame(agent: Agent, client: Client) -> None:
    spec = agent.shell("true", source=(f"{agent.home}/s", bytes(2 << 20)))
    with pytest.raises(InvalidRequest, match="1 MiB"):
        await client.start(1, spec)


async def test_shutdown_ends_the_agent(agent: Agent, client: Client) -> None:
    process = await client.start(1, agent.shell("sleep 60"))
    await client.shutdown(0.2)
    agent.refusing = AgentUnreachable("stopped")
    with anyio.fail_after(10):
        try:
            ended = [event async for event in process.events()][-1]
        except AgentUnreachable as error:
            assert error.dispatch == "outcome_unknown"
        else:
            assert isinstance(ended, Exit)
            assert ended.cancelled


async def test_a_release_just_before_closing_is_heard(agent: Agent) -> None:
    for line in (b"one\n", b"two\n"):
        async with open_client(agent.dial) as client:
            assert (await run(client, 1, agent.shell(f"echo {line.decode()}"))).stdout == line


async def test_an_error_in_the_block_comes_out_as_it_is(agent: Agent) -> None:
    with pytest.raises(LookupError):
        async with open_client(agent.dial):
            raise LookupError


async def test_never_dispatched_when_nobody_answers(agent: Agent) -> None:
    agent.refusing = BackendUnreachable("no engine")
    async with open_client(agent.dial, patience=0.3) as client:
        with pytest.raises(AgentUnreachable, match="no engine") as caught:
            await client.start(1, agent.shell("true"))
        assert caught.value.dispatch == "never_dispatched"
        with pytest.raises(AgentUnreachable):
            await client.ping()
        agent.refusing = None
        assert (await run(client, 1, agent.shell("echo back"))).stdout == b"back\n"
    assert agent.dials > 3


async def test_a_closed_client(agent: Agent) -> None:
    async with open_client(agent.dial) as client:
        process = await client.start(1, agent.shell("sleep 60"))
        await client.aclose()
        with pytest.raises(AgentUnreachable) as caught:
            await anext(process.events())
        assert caught.value.dispatch == "outcome_unknown"
        with pytest.raises(AgentUnreachable):
            await client.ping()
    async with open_client(agent.dial) as second:
        assert await second.executions() == [(1, True)]
