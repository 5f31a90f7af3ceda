"""WebSockets of a real server process: output one way, standard input and signals the other."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.server_process import ServerProcess, server

BOX = "/api/vms/box"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a VM."""
    directory = tmp_path_factory.mktemp("sockets")
    with server(directory / "state", directory / "output", BACKEND="fake") as found:
        made = found.client.post("/api/vms/create", json={"name": "box", "language": "python"})
        assert made.status_code == 201, made.text
        yield found
        said = (directory / "output").read_text()
        assert '"level": "error"' not in said, said


def begin(running: ServerProcess, command: str, **fields: object) -> Any:
    body = {"command": command, "background": True, "stdin_open": True, **fields}
    answer = running.client.post(f"{BOX}/execute", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def opened(running: ServerProcess, path: str, key: str | None = None) -> ClientConnection:
    url = running.url.replace("http://", "ws://") + path
    headers = {"Authorization": f"Bearer {key or running.key}", "X-Request-ID": "mine"}
    return connect(url, additional_headers=headers, open_timeout=10, close_timeout=5, proxy=None)


def stream_of(begun: Any) -> str:
    return f"{BOX}/executions/{begun['id']}/stream"


def until(socket: ClientConnection, event: str) -> tuple[list[Any], Any]:
    """What came before the next message of this kind, and it."""
    before: list[Any] = []
    while True:
        message = json.loads(socket.recv(timeout=10))
        if message["event"] == event:
            return before, message
        before.append(message)


def test_talking_to_a_program(running: ServerProcess) -> None:
    begun = begin(running, "echo ready; cat; exit 3")
    with opened(running, stream_of(begun)) as socket:
        _, ready = until(socket, "stdout")
        assert ready == {"event": "stdout", "id": "6,0", "offset": 0, "text": "ready\n"}
        socket.send(json.dumps({"stdin": "héllo\n"}))
        _, taken = until(socket, "stdin")
        assert (taken["offset"], taken["closed"]) == (7, False)
        socket.send(b"\xff\n")
        until(socket, "stdin")
        socket.send(json.dumps({"close_stdin": True}))
        seen, end = until(socket, "exit")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.close_code == 1000
    pieces = [one for one in seen if one["event"] == "stdout"]
    assert base64.b64decode(pieces[-1].get("base64", "")) == b"\xff\n" or pieces
    assert end["execution"]["exit_code"] == 3
    path = stream_of(begun).removesuffix("/stream")
    assert running.client.get(path).json() == end["execution"]
    assert running.client.get(f"{path}/output").content == "ready\nhéllo\n".encode() + b"\xff\n"


def test_signals_and_cancelling(running: ServerProcess) -> None:
    begun = begin(running, "sleep 60")
    with opened(running, stream_of(begun)) as socket:
        socket.send(json.dumps({"signal": "INT"}))
        assert until(socket, "exit")[1]["execution"]["exit_code"] == 130
    begun = begin(running, "sleep 60")
    with opened(running, stream_of(begun)) as socket:
        socket.send(json.dumps({"cancel": True}))
        assert until(socket, "exit")[1]["execution"]["failure"] == "it was cancelled"


def test_positions(running: ServerProcess) -> None:
    begun = begin(running, "echo 0123456789")
    running.client.get(stream_of(begun).replace("stream", "wait"))
    with opened(running, stream_of(begun) + "?stdout_offset=8") as socket:
        assert until(socket, "stdout")[1]["text"] == "89\n"
    with opened(running, stream_of(begun) + "?tail=2") as socket:
        assert until(socket, "stdout")[1]["text"] == "9\n"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("{", "message"),
        ("[]", "message"),
        ('{"shout": 1}', "shout"),
        ('{"signal": "NONE"}', "signal"),
        ('{"stdin": 1}', "stdin"),
        ('{"resize": {"columns": 0}}', "resize"),
        ('{"resize": {"rows": 1001}}', "resize"),
    ],
)
def test_what_cannot_be_understood_is_refused_and_the_rest_goes_on(
    running: ServerProcess, message: str, field: str
) -> None:
    begun = begin(running, "cat")
    with opened(running, stream_of(begun)) as socket:
        socket.send(message)
        refused = until(socket, "refused")[1]["problem"]
        assert (refused["status"], refused["code"], refused["request_id"]) == (422, "invalid_request", "mine")
        assert refused["errors"][0]["field"].split(".")[0] == field
        socket.send(json.dumps({"close_stdin": True}))
        until(socket, "exit")


def test_a_terminal(running: ServerProcess) -> None:
    begun = begin(running, "echo out; cat", terminal={})
    with opened(running, stream_of(begun)) as socket:
        assert until(socket, "stdout")[1]["text"] == "out\r\n"
        socket.send(json.dumps({"resize": {"columns": 100, "rows": 40}, "stdin": "x\n"}))
        before, shown = until(socket, "stdout")
        assert shown["text"] == "x\r\n" and [one["event"] for one in before] in ([], ["stdin"])
        socket.send(json.dumps({"close_stdin": True}))
        assert until(socket, "exit")[1]["execution"]["terminal"]
    piped = begin(running, "cat")
    with opened(running, stream_of(piped)) as socket:
        socket.send(json.dumps({"resize": {}}))
        assert until(socket, "refused")[1]["problem"]["code"] == "execution_ended"
        socket.send(json.dumps({"close_stdin": True}))
        until(socket, "exit")


def test_looking_is_not_touching(running: ServerProcess) -> None:
    made = running.client.post("/api/keys", json={"scopes": ["read"]}).json()
    begun = begin(running, "echo ready; cat")
    with opened(running, stream_of(begun), made["key"]) as socket:
        until(socket, "stdout")
        socket.send(json.dumps({"stdin": "x"}))
        assert until(socket, "refused")[1]["problem"]["code"] == "insufficient_scope"
        socket.send(b"x")
        assert until(socket, "refused")[1]["problem"]["code"] == "insufficient_scope"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/vms/box/executions/999999/stream", 404, "execution_not_found"),
        ("/api/vms/none/executions/1/stream", 404, "vm_not_found"),
        ("/api/vms/box/executions/1/else", 404, "not_found"),
        ("/api/vms/box/executions/99999999999999999999/stream", 404, "not_found"),
    ],
)
def test_who_is_not_let_in_gets_an_answer(running: ServerProcess, path: str, status: int, code: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        opened(running, path)
    answer = refusal.value.response
    problem = json.loads(answer.body or b"")
    assert (answer.status_code, problem["code"], problem["request_id"]) == (status, code, "mine")
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_keys_and_strangers(running: ServerProcess) -> None:
    begun = begin(running, "cat")
    with pytest.raises(InvalidStatus) as refusal:
        opened(running, stream_of(begun), "vmp_wrong")
    assert refusal.value.response.status_code == 401
    assert refusal.value.response.headers["www-authenticate"] == "Bearer"
    other = running.client.post("/api/users", json={"name": "other"}).json()["key"]["key"]
    with pytest.raises(InvalidStatus) as refusal:
        opened(running, f"/api/vms/{begun['vm_id']}/executions/{begun['id']}/stream", other)
    assert refusal.value.response.status_code == 404
    blind = running.client.post("/api/keys", json={"scopes": ["execute"]}).json()["key"]
    with pytest.raises(InvalidStatus) as refusal:
        opened(running, stream_of(begun), blind)
    assert refusal.value.response.status_code == 403
    audit = running.client.get("/api/audit").json()
    assert [entry["status"] for entry in audit if entry["action"] == "stream_execution"] == [403]


def test_a_servers_end_says_come_again(tmp_path: Path) -> None:
    with server(tmp_path / "state", tmp_path / "output", BACKEND="fake") as found:
        found.client.post("/api/vms/create", json={"name": "box", "language": "python"})
        begun = begin(found, "echo ready; cat")
        with opened(found, stream_of(begun)) as socket:
            until(socket, "stdout")
            assert found.end() == 0
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=10)
            assert socket.close_code == 1012
    assert '"level": "error"' not in (tmp_path / "output").read_text()
