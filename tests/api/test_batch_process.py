"""A batch and the life of the server's process: a hundred VMs, a client that leaves, a server that ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, server
from vmpool import Client
from vmpool.client.batch import Arrival
from vmpool.client.errors import ClientError, InfrastructureFailure
from vmpool.client.models import Execution

NAP = "sleep $NAP; echo done"
LIMITS = {"LIMITS__MAX_VMS_PER_USER": "100", "LIMITS__MAX_TOTAL_VMS": "100", "LIMITS__HOST_MEMORY": "100000"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that gives requests in progress two seconds at its end."""
    with server(
        tmp_path / "state", tmp_path / "output", BACKEND="fake", LISTEN__DRAIN="2", **LIMITS
    ) as process:
        yield process


@pytest.fixture
def client(running: ServerProcess) -> Iterator[Client]:
    with Client(running.url, running.key) as opened:
        yield opened


def create(client: Client, *naps: float) -> list[int]:
    """A VM for each, in which `NAP` takes so many seconds; their ids."""
    return [
        client.create_vm(f"vm-{place}", "bash", env={"NAP": str(nap)}).id for place, nap in enumerate(naps)
    ]


def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_hundred_vms(client: Client) -> None:
    ids = create(client, 600, *[0] * 99)
    with closing(client.batch_stream(command=NAP)) as arrivals:
        first = dict(next(arrivals) for _ in range(99))
        assert set(first) == set(range(1, 100))
        assert [first[place].vm_id for place in range(1, 100)] == ids[1:]
        assert {result.output for result in first.values()} == {"done\n"}
        client.stop_vm(ids[0])
        ((place, last),) = list(arrivals)
    assert (place, last.vm_id, last.ok) == (0, ids[0], False)
    client.start_vm(ids[0])
    again = client.batch_execute(command="hostname")
    assert [result.output for result in again] == [f"vm-{place}\n" for place in range(100)]


def test_a_client_that_leaves_leaves_the_programs_running(client: Client) -> None:
    ids = create(client, 0, 1, 600)
    with closing(client.batch_stream(command=NAP)) as arrivals:
        assert next(arrivals).place == 0
    until(lambda: client.vm_status(ids[1]).executions == 0)
    assert [run.output for run in client.list_executions(ids[1])] == ["done\n"]
    assert client.vm_status(ids[2]).executions == 1


def test_a_server_that_ends_gives_a_batch_its_time(running: ServerProcess, client: Client) -> None:
    create(client, 0, 1)
    with closing(client.batch_stream(command=NAP)) as arrivals:
        found = [next(arrivals)]
        running.process.send_signal(signal.SIGTERM)
        found += arrivals
    assert [(place, result.output) for place, result in found] == [(0, "done\n"), (1, "done\n")]
    assert running.process.wait(30) == 0


def test_a_batch_that_outlasts_the_servers_end_says_so(
    running: ServerProcess, client: Client, tmp_path: Path
) -> None:
    create(client, 0, 600)
    with closing(client.batch_stream(command=NAP)) as arrivals:
        first = next(arrivals)
        assert isinstance(first.result, Execution)
        running.process.send_signal(signal.SIGTERM)
        with pytest.raises(InfrastructureFailure, match="the server is ending") as caught:
            next(arrivals)
    assert caught.value.dispatch == "outcome_unknown"
    assert running.process.wait(30) == 0
    assert "Traceback" not in (tmp_path / "output").read_text()


def test_a_server_that_is_killed_is_an_error_after_what_came(running: ServerProcess, client: Client) -> None:
    create(client, 0, 600)
    found: list[Arrival] = []
    with pytest.raises(ClientError) as caught, closing(client.batch_stream(command=NAP)) as arrivals:
        for arrival in arrivals:
            found.append(arrival)
            running.process.kill()
    assert [arrival.place for arrival in found] == [0]
    assert (caught.value.code, caught.value.dispatch) == ("server_unreachable", "outcome_unknown")
    assert running.process.wait(30) == -signal.SIGKILL


def test_batches_at_the_same_time_keep_apart(running: ServerProcess, client: Client) -> None:
    ids = create(client, *[0] * 10)
    told: dict[str, list[tuple[int | str, str]]] = {}

    def one(word: str) -> None:
        with (
            Client(running.url, running.key) as own,
            closing(own.batch_stream(command=f"echo {word}")) as them,
        ):
            told[word] = sorted((result.vm_id, result.output) for _, result in them)

    threads = [threading.Thread(target=one, args=(f"word-{number}",)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert told == {f"word-{number}": [(vm_id, f"word-{number}\n") for vm_id in ids] for number in range(5)}
