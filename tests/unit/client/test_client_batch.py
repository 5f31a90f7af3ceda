"""A batch's answer as results: as a whole and event by event, whatever is sent."""

from __future__ import annotations

import json

import pytest

from vmpool.client import batch, models
from vmpool.client.errors import AgentUnreachable, ClientError, UnexpectedAnswer, VMNotRunning
from vmpool.client.sse import Decoder

EXECUTION = {
    "id": 5,
    "vm_id": 3,
    "code": "print(1)",
    "output": "1\n",
    "error": "",
    "exit_code": 0,
    "execution_time": 0.1,
    "executed_at": "2026-01-01T00:00:00Z",
    "timed_out": False,
    "oom_killed": False,
    "truncated": False,
    "cpu_time": 0.1,
    "max_memory": 1000,
    "state": "finished",
    "language": "python",
    "failure": None,
}
PROBLEM = {
    "type": "t",
    "title": "Conflict",
    "status": 409,
    "detail": "VM 4 is stopped",
    "code": "vm_not_running",
    "retryable": False,
    "request_id": "r",
}
FAILURE = {"vm_id": 4, "error": PROBLEM}
END = {"items": 2}


def event(data: object, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def arrived(place: int, item: object) -> bytes:
    return event({"place": place, "item": item})


def read(stream: bytes, size: int = 1 << 20) -> tuple[list[batch.Arrival], bool]:
    """What comes of a stream that arrives in pieces of `size`, and whether it was complete."""
    decoder, reader = Decoder(), batch.Reader()
    found = [
        arrival
        for start in range(0, len(stream), size)
        for sent in decoder.feed(stream[start : start + size])
        if (arrival := reader.read(sent)) is not None
    ]
    return found, reader.complete


def test_a_batch_holds_results_and_failures_that_read_alike() -> None:
    items = batch.results(json.dumps([EXECUTION, FAILURE]).encode())
    assert [(item.vm_id, item.output, item.ok) for item in items] == [(3, "1\n", True), (4, "", False)]
    failure = items[1]
    assert isinstance(failure, models.BatchError)
    assert failure.error == "VM 4 is stopped"
    assert failure.exit_code is None
    assert isinstance(failure.problem.as_error(), VMNotRunning)
    assert failure.model_dump(mode="json", by_alias=True)["error"]["code"] == "vm_not_running"


@pytest.mark.parametrize("answer", [b"", b"<html>", b"{}", b"[1]", b'[{"vm_id": 4}]'])
def test_what_is_no_batch_is_said_to_be_none(answer: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        batch.results(answer)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_results_come_with_their_places(size: int) -> None:
    stream = b": still here\n\n" + arrived(1, FAILURE) + b": still here\n\n" + arrived(0, EXECUTION)
    found, complete = read(stream + event(END, "end"), size)
    assert [(place, result.vm_id) for place, result in found] == [(1, 4), (0, 3)]
    assert isinstance(found[0].result, models.BatchError)
    assert isinstance(found[1].result, models.Execution)
    assert complete


def test_a_stream_without_its_end_is_not_complete() -> None:
    found, complete = read(arrived(0, EXECUTION) + arrived(1, EXECUTION)[:-2])
    assert ([arrival.place for arrival in found], complete) == ([0], False)


def test_events_of_a_newer_server_are_passed_over() -> None:
    found, complete = read(event({"of": 2}, "progress") + event({"items": 0, "more": 1}, "end"))
    assert (found, complete) == ([], True)


def test_the_servers_error_in_place_of_the_rest_is_raised() -> None:
    problem = {"status": 502, "code": "agent_unreachable", "dispatch": "outcome_unknown", "detail": "gone"}
    with pytest.raises(AgentUnreachable, match="gone") as caught:
        read(event(problem, "error"))
    assert caught.value.dispatch == "outcome_unknown"


@pytest.mark.parametrize(
    "stream",
    [
        b"data: hello\n\n",
        b"data: [1, 2]\n\n",
        b"data: \xff\xfe\n\n",
        event(EXECUTION),
        arrived(-1, EXECUTION),
        arrived(0, {"vm_id": 4}),
        event({"place": 0}),
        arrived(0, EXECUTION) + event(END, "end"),
        event("done", "end"),
        event("wrong", "error"),
    ],
)
def test_what_no_server_sends_is_an_unexpected_answer(stream: bytes) -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        read(stream)
    assert isinstance(caught.value, ClientError)
