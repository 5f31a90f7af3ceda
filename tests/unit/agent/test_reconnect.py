"""A broken stream costs nothing but time: no byte is lost or doubled, nothing runs twice."""

from __future__ import annotations

import hashlib
import random

import anyio
import pytest
from anyio.abc import ByteStream

from tests.captured import run
from tests.unit.agent.agents import Agent, cut_on_the_way
from vmpool.agent import Client, Exit, Output, open_client
from vmpool.agent.link import LinkEvent
from vmpool.errors import AgentRefused, AgentUnreachable

pytestmark = pytest.mark.anyio


async def collect(client: Client, agent: Agent, number: int, lines: int) -> None:
    code = (
        "import sys, time\n"
        f"for i in range({lines}):\n"
        "  print(f'{i:08d}' * 50)\n"
        "  if i % 20 == 0: time.sleep(0.01)\n"
        "  if i % 7 == 0: print(i, file=sys.stderr)\n"
    )
    captured = await run(client, number, agent.python(code), inline_limit=1 << 24)
    expected = "".join(f"{i:08d}" * 50 + "\n" for i in range(lines)).encode()
    assert hashlib.sha256(captured.stdout).digest() == hashlib.sha256(expected).digest()
    assert captured.stderr == "".join(f"{i}\n" for i in range(0, lines, 7)).encode()
    assert captured.exit.exit_code == 0


async def test_streams_cut_again_and_again(agent: Agent, client: Client) -> None:
    async with anyio.create_task_group() as tasks:

        async def cutter() -> None:
            for _ in range(15):
                await anyio.sleep(0.05)
                await agent.cut()

        tasks.start_soon(cutter)
        async with anyio.create_task_group() as readers:
            for number in range(1, 6):
                readers.start_soon(collect, client, agent, number, 800)
        tasks.cancel_scope.cancel()
    assert agent.dials > 5


async def test_whoever_watches_is_told_of_each_connection(agent: Agent) -> None:
    seen: list[LinkEvent] = []
    client = Client(agent.dial, patience=5, watch=seen.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.run)
        await client.ping()
        await agent.cut()
        await client.ping()
        await client.aclose()
    assert seen == [LinkEvent.CONNECTED, LinkEvent.RECONNECTED]


async def test_a_stream_cut_in_the_middle_of_any_frame(agent: Agent) -> None:
    rng = random.Random(4)

    async def dial() -> object:
        stream = await agent.dial()
        stream.cut_after = rng.randrange(60, 20_000)  # type: ignore[attr-defined]
        return stream

    async with open_client(dial) as client:  # type: ignore[arg-type]
        await collect(client, agent, 1, 400)
    assert agent.dials > 5


async def test_a_socket_that_ends_in_the_middle_of_any_frame(agent: Agent) -> None:
    rng = random.Random(5)
    async with anyio.create_task_group() as tasks:

        async def dial() -> ByteStream:
            return await cut_on_the_way(await agent.dial(), rng.randrange(60, 20_000), tasks)

        async with open_client(dial) as client:
            await collect(client, agent, 1, 400)
        tasks.cancel_scope.cancel()
    assert agent.dials > 5


async def test_a_start_on_its_way_runs_once(agent: Agent) -> None:
    async with open_client(agent.dial) as client:
        await client.ping()
        for number in range(1, 11):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run, client, number, agent.shell(f"echo {number} >> log"))
                await anyio.sleep(0.001 * number)
                await agent.cut()
        lines = (await client.read_file(f"{agent.home}/log")).split()
    assert sorted(map(int, lines)) == list(range(1, 11))


async def test_standard_input_survives_a_break(agent: Agent, client: Client) -> None:
    data = "".join(f"{i:07d}\n" for i in range(60_000)).encode()
    process = await client.start(1, agent.shell("cat", stdin="open"))
    received = bytearray()

    async def feed() -> None:
        for position in range(0, len(data), 10_000):
            await process.write_stdin(data[position : position + 10_000])
        await process.close_stdin()

    async def read() -> None:
        async for event in process.events():
            if isinstance(event, Output):
                received.extend(event.data)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed)
        tasks.start_soon(read)
        for _ in range(5):
            await anyio.sleep(0.02)
            await agent.cut()
    assert bytes(received) == data


async def test_a_second_client_goes_on_where_the_first_stopped(agent: Agent) -> None:
    spec = agent.shell("echo one; sleep 0.6; echo two; exit 4")
    async with open_client(agent.dial) as first:
        process = await first.start(1, spec)
        event = await anext(process.events())
        assert isinstance(event, Output)
        assert event.data == b"one\n"
    async with open_client(agent.dial) as second:
        assert await second.executions() == [(1, True)]
        attached = await second.attach(1, stdout_offset=4)
        events = [event async for event in attached.events()]
        assert [event.data for event in events if isinstance(event, Output)] == [b"two\n"]
        assert isinstance(events[-1], Exit)
        assert events[-1].exit_code == 4
        await attached.release()
        with pytest.raises(AgentRefused) as refused:
            await second.attach(1)
        assert refused.value.reason == "unknown_execution"


async def test_an_ended_execution_waits_for_the_next_client(agent: Agent) -> None:
    async with open_client(agent.dial) as first:
        await first.start(1, agent.shell("echo done; exit 5"))
    await anyio.sleep(0.2)
    async with open_client(agent.dial) as second:
        events = [event async for event in (await second.attach(1)).events()]
        assert isinstance(events[-1], Exit)
        assert events[-1].exit_code == 5


async def test_an_agent_that_is_gone(agent: Agent) -> None:
    async with open_client(agent.dial, patience=0.3) as client:
        process = await client.start(1, agent.shell("echo begun; sleep 60"))
        events = process.events()
        assert isinstance(await anext(events), Output)
        agent.refusing = AgentUnreachable("stopped")
        await agent.cut()
        with anyio.fail_after(5), pytest.raises(AgentUnreachable) as caught:
            await anext(events)
        assert caught.value.dispatch == "outcome_unknown"


async def test_a_restarted_agent_does_not_run_it_again(agent: Agent) -> None:
    async with open_client(agent.dial) as client:
        process = await client.start(1, agent.shell("echo x >> log; sleep 60"))
        await anyio.sleep(0.2)
        await agent.restart()
        with anyio.fail_after(10), pytest.raises(AgentUnreachable) as caught:
            await anext(process.events())
        assert caught.value.dispatch == "outcome_unknown"
        await process.release()
        assert (await client.read_file(f"{agent.home}/log")) == b"x\n"
        assert await client.executions() == []
        assert (await run(client, 1, agent.shell("echo new"))).stdout == b"new\n"


async def test_a_kill_asked_for_while_disconnected_still_happens(agent: Agent) -> None:
    async with open_client(agent.dial) as client:
        agent_was = agent.refusing
        process = await client.start(1, agent.shell("sleep 60"))
        agent.refusing = OSError("for a moment")
        await agent.cut()
        await anyio.sleep(0.05)
        assert not client.connected
        process.abandon(kill=True)
        agent.refusing = agent_was
        with anyio.fail_after(5):
            while await client.executions():
                await client.ping()


async def test_an_idle_client_does_not_dial_a_machine_that_stopped(agent: Agent) -> None:
    async with open_client(agent.dial) as client:
        await client.ping()
        dials = agent.dials
        await agent.cut()
        await anyio.sleep(0.3)
        assert agent.dials == dials
        await client.ping()
        assert agent.dials == dials + 1
