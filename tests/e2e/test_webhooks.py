"""Events sent to a receiver that verifies them, from VMs on every backend; the page's receiver as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import VM
from tests.e2e.pools import why_missing
from tests.server_process import server
from vmpool import Client

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("backend", ["fake", "bubblewrap", "docker"])
def test_the_receiver_of_the_page_takes_what_the_server_sends(backend: str, tmp_path: Path) -> None:
    missing = why_missing(backend)
    if missing is not None:
        pytest.skip(f"{backend}: {missing}")
    found = re.search(r"^```python receiver\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    secret = tmp_path / "secret"
    with (
        server(
            tmp_path / "state", tmp_path / "log", BACKEND=backend, WEBHOOKS__ADMIT='["127.0.0.1"]'
        ) as running,
        subprocess.Popen(
            [sys.executable, "-u", "-c", found[1], str(secret)], stdout=subprocess.PIPE, text=True
        ) as receiver,
        Client(running.url, running.key) as client,
    ):
        try:
            assert receiver.stdout is not None
            port = int(receiver.stdout.readline())
            made = client.webhooks.create(f"http://127.0.0.1:{port}/", ["vm", "execution.finished"])
            secret.write_text(made.secret)
            with client.create_vm("told", "bash") as vm:
                vm.execute("exit 3")
            came = [json.loads(receiver.stdout.readline()) for _ in range(5)]
            assert [one["type"] for one in came] == [
                "vm.creating",
                "vm.running",
                "execution.finished",
                "vm.deleting",
                "vm.deleted",
            ]
            assert came[2]["data"]["facts"]["exit_code"] == 3
            words = [str(VM), "webhooks", "test", str(made.id)]
            env = {"VMPOOL_URL": running.url, "VMPOOL_API_KEY": running.key, "NO_COLOR": "1"}
            assert "delivered" in subprocess.run(words, env=env, capture_output=True, text=True).stdout
            secret.write_text("whsec_bm90IGl0")  # a receiver that knows another secret refuses what comes
            done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
            assert (done.returncode, "answered 401" in done.stdout) == (1, True)
            deadline = time.monotonic() + 20
            while len(log := client.webhooks.deliveries(made.id)) < 7 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert [one.stage for one in log] == ["failed", *["delivered"] * 6]
        finally:
            receiver.terminate()
