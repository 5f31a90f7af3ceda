"""No secret in the server's log or in any process's arguments or environment, with a real server and VM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, server

SECRETS = {
    name: f"hush-{name}-{os.getpid()}"
    for name in ("environment", "variable", "code", "stdin", "wrong", "query")
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def running(place: Path) -> Iterator[ServerProcess]:
    """A server that logs everything it can and has a secret in its own environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUSH", SECRETS["environment"])
        started = server(
            place / "state",
            place / "output",
            BACKEND="bubblewrap",
            LOG__LEVEL="debug",
            LISTEN__ACCESS_LOG="true",
        )
        with started as found:
            patch.delenv("HUSH")
            yield found
            for vm in found.client.get("/api/vms").json():  # they would outlive the server
                assert found.client.delete(f"/api/vms/{vm['id']}").is_success


def used(running: ServerProcess) -> list[str]:
    """Do a little of everything with secrets; the keys that came up."""
    client = running.client
    body = {"name": "box", "language": "python", "env": {"TOKEN": SECRETS["variable"]}}
    made = client.post("/api/vms/create", json=body)
    assert made.status_code == 201, made.text
    code = f"import time; time.sleep(0.5); print('{SECRETS['code']}', input()); import nonsense"
    body = {"code": code, "stdin": SECRETS["stdin"]}
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(client.post, "/api/vms/box/execute", json=body)
        seen = processes("cmdline")
        while not asked.done():
            seen |= processes("cmdline")
        ran = asked.result()
    assert not [text for text in seen.values() if any(secret in text for secret in SECRETS.values())]
    assert SECRETS["stdin"] in ran.json()["output"] and ran.json()["exit_code"] == 1
    key = client.post("/api/keys").json()
    rotated = client.post(f"/api/keys/{key['id']}/rotate").json()
    user = client.post("/api/users", json={"name": "ada"}).json()
    client.get("/api/vms", headers={"Authorization": f"Bearer {SECRETS['wrong']}"})
    client.get(f"/api/nothing?key={SECRETS['query']}")
    client.post("/api/vms/box/execute", json={"code": SECRETS["code"], "stdin": [SECRETS["stdin"]]})
    return [running.key, key["key"], rotated["key"], user["key"]["key"]]


def test_secrets_stay_where_they_belong(running: ServerProcess, place: Path) -> None:
    keys = used(running)
    log = (place / "output").read_text()
    assert "/api/vms/box/execute" in log  # it does say what it does
    for secret in (*keys, *SECRETS.values()):
        assert secret not in log, log[max(0, log.index(secret) - 300) :][:400]

    answered = running.client.get("/api/audit?limit=1000").text + running.client.get("/api/vms").text
    assert not [secret for secret in (*keys, *SECRETS.values()) if secret in answered]

    arguments, environments = processes("cmdline"), processes("environ")
    assert running.process.pid in arguments and len(arguments) > 3
    for secret in (*keys, *SECRETS.values()):
        assert not [pid for pid, text in arguments.items() if secret in text], secret
    for secret in (*keys, SECRETS["wrong"], SECRETS["code"], SECRETS["stdin"]):
        assert not [pid for pid, text in environments.items() if secret in text], secret
    # What is in the server's own environment is for nobody it starts.
    holders = [pid for pid, text in environments.items() if SECRETS["environment"] in text]
    assert holders == [running.process.pid], [arguments.get(pid) for pid in holders]


def test_keys_lie_nowhere_but_in_the_owners_file(running: ServerProcess, place: Path) -> None:
    keys = [running.key, running.client.post("/api/keys").json()["key"]]
    holders = [
        path.name
        for path in (place / "state").iterdir()  # below it are the VMs' own files
        if path.is_file() and any(key.encode() in path.read_bytes() for key in keys)
    ]
    assert holders == ["owner.key"]


def processes(what: str) -> dict[int, str]:
    """This file of every process of the host that we may read, this one left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                found[int(entry.name)] = (entry / what).read_bytes().decode(errors="replace")
            except OSError:  # it has ended, or belongs to somebody else
                continue
    return found
