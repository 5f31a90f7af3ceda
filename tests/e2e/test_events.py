"""What changes, through the `vm` command and both SDK clients, and the page about it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from contextlib import aclosing, closing
from pathlib import Path

import anyio
import pytest

from tests.e2e.conftest import VM, Site
from tests.e2e.pools import Pool
from tests.server_process import server
from vmpool import AsyncClient, Client
from vmpool.client import Event, errors

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
pytestmark = pytest.mark.timeout(120)


def test_the_commands_of_the_page_work(site: Site, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**site.env, "PATH": f"{VM.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "it ended with 3" in done.stdout
    assert re.search(r"execution\.finished +VM \d+, execution \d+ +exit_code=3", done.stdout)
    later = [json.loads(line)["type"] for line in (tmp_path / "later.json").read_text().splitlines()]
    assert later == ["vm.stopping", "vm.stopped", "vm.starting", "vm.running"]


def test_following_until_interrupted(site: Site) -> None:
    with subprocess.Popen(
        [VM, "events", "--after", "0", "--json", "--type", "vm"],
        env=site.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        vm = site.data("create", "followed", "bash")
        for line in follower.stdout:
            event = json.loads(line)
            if (event["vm_id"], event["type"]) == (vm["id"], "vm.running"):
                break
        follower.send_signal(signal.SIGINT)
        assert follower.wait(20) == 130
    assert site.vm("events", "--after", str(2**60)).returncode == 125
    assert site.vm("events", "--type", "nonsense").returncode == 125


def test_every_backend_s_vms_have_events(pool: Pool) -> None:
    """Both clients hear the same, in order."""
    found: list[Event] = []
    start = max((event.id for event in pool.client.events.list(limit=1)), default=0)

    def work() -> None:
        with pool.client.create_vm("told", "bash") as vm:
            vm.execute("exit 3")
            kept = vm.snapshot()
            vm.restore(kept)
            vm.stop()

    worker = threading.Thread(target=work)
    worker.start()
    with closing(pool.client.events.follow(after=start)) as events:
        for event in events:
            found.append(event)
            if event.type == "vm.deleted":
                break
    worker.join(60)
    assert [event.type for event in found if event.type != "server.started"] == [
        "vm.creating",
        "vm.running",
        "execution.running",
        "execution.finished",
        "snapshot.ready",
        "vm.restoring",
        "vm.running",
        "vm.stopping",
        "vm.stopped",
        "vm.deleting",
        "vm.deleted",
    ]

    async def again() -> list[Event]:
        address = pool.client._connection.address()
        async with AsyncClient(address.url, address.api_key) as client:
            async with aclosing(client.events.follow(after=start, types=["vm", "execution"])) as events:
                same: list[Event] = []
                async for event in events:
                    same.append(event)
                    if event.type == "vm.deleted":
                        return same
        raise AssertionError

    assert anyio.run(again) == [event for event in found if not event.type.startswith("snapshot")]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_follower_does_not_feel_a_restart(tmp_path: Path, how: signal.Signals) -> None:
    """Nothing is missing, nothing comes twice, whatever way the server ends."""
    state, log = tmp_path / "state", tmp_path / "log"
    with server(state, log, BACKEND="bubblewrap") as first:
        port = first.url.rpartition(":")[2]
        found: list[Event] = []
        started = threading.Event()
        client = Client(first.url, first.key)

        def follow() -> None:
            with closing(client.events.follow(after=0)) as events:
                for event in events:
                    found.append(event)
                    started.set()
                    if event.type == "vm.deleted":
                        return

        reader = threading.Thread(target=follow, daemon=True)
        with Client(first.url, first.key) as user:
            user.create_vm("kept", "bash")
        reader.start()
        assert started.wait(20)
        first.end(how)
    with server(state, log, BACKEND="bubblewrap", LISTEN__PORT=port) as second:
        with Client(second.url, second.key) as user:
            user.stop_vm("kept")
            user.delete_vm("kept")
        reader.join(30)
        assert not reader.is_alive()
        with Client(second.url, second.key) as user:
            assert [event.id for event in found] == [event.id for event in user.events.list(limit=1000)][::-1]
            with pytest.raises(errors.EventsGone), closing(user.events.follow(after=2**60)) as events:
                next(events)
    assert [event.type for event in found].count("server.started") == 1
    assert [event.id for event in found] == sorted({event.id for event in found})
    client.close()
