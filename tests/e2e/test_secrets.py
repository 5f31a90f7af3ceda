"""Secrets through the `vm` command and the SDK, in real VMs, and the page about them."""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from tests.e2e.conftest import VM, Site
from tests.e2e.pools import Pool, why_missing
from tests.server_process import server
from vmpool import Client

PAGE = Path(__file__).parents[2] / "docs" / "secrets.md"
pytestmark = pytest.mark.timeout(120)
VALUE = "correct-horse-battery"


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
    assert "21 bytes: *********************\nnot asked for: nothing\n" in done.stdout
    assert "18\n******************\n" in done.stdout
    assert site.data("secret", "list") == []


def test_no_program_s_output_shows_it_however_much_there_is(pool: Pool) -> None:
    """Cut into pieces by pipes, frames and flushes, in every language, on both streams."""
    client = pool.client
    client.secrets.set("TOKEN", VALUE)
    try:
        with client.create_vm("secrets", "python") as vm:
            slowly = (
                "import os, time\nfor c in os.environ['TOKEN']: print(c, end='', flush=True); time.sleep(.01)"
            )
            assert vm.execute(slowly, secrets=["TOKEN"]).output == "*" * 21
            error = vm.execute("import os; raise SystemExit(os.environ['TOKEN'])", secrets=["TOKEN"]).error
            assert VALUE not in error and "*" * 21 in error
            many = "import os\nfor n in range(100000): print(n, os.environ['TOKEN'])"
            ran = vm.execute(many, secrets=["TOKEN"])
            whole = b"".join(vm.output(ran))
            assert whole.decode().splitlines() == [f"{n} {'*' * 21}" for n in range(100_000)]
            assert vm.execute("import os; print('TOKEN' in os.environ)").output == "False\n"
            begun = vm.begin(command="echo $TOKEN; sleep 0.2; echo $TOKEN", secrets=["TOKEN"])
            assert b"".join(piece.data for piece in begun.stream()) == b"*********************\n" * 2
    finally:
        client.secrets.delete("TOKEN")


class _Echo(http.server.BaseHTTPRequestHandler):
    """Keeps the headers that came, and answers without them."""

    def do_GET(self) -> None:
        self.server.came.append(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is written."""


@pytest.mark.parametrize("backend", ["bubblewrap", "docker"])
def test_one_for_a_host_never_enters_the_vm(backend: str, tmp_path: Path) -> None:
    missing = why_missing(backend)
    if missing is not None:
        pytest.skip(f"{backend}: {missing}")
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    came: list[str] = []
    receiver.came = came  # type: ignore[attr-defined]
    serving = threading.Thread(target=receiver.serve_forever)
    serving.start()
    try:
        with (
            server(
                tmp_path / "state", tmp_path / "log", BACKEND=backend, NETWORK__ADMIT='["127.0.0.1"]'
            ) as running,
            Client(running.url, running.key) as client,
            client.create_vm("inside", "python", network="filtered") as vm,
        ):
            port = receiver.server_port
            client.secrets.set("TOKEN", VALUE, hosts=[f"localhost:{port}"])
            asking = (
                "import os, urllib.request\n"
                "for host in ('localhost', '127.0.0.1'):\n"
                f"    url = f'http://{{host}}:{port}/'\n"
                "    headers = {'Authorization': 'Bearer {{TOKEN}}'}\n"
                "    proxies = urllib.request.ProxyHandler({'http': os.environ['http_proxy']})\n"
                "    opener = urllib.request.build_opener(proxies)\n"
                "    os.environ['no_proxy'] = ''\n"
                "    print(opener.open(urllib.request.Request(url, headers=headers), timeout=20).status)\n"
                "print('TOKEN' in os.environ)"
            )
            ran = vm.execute(asking)
            assert ran.output == "204\n204\nFalse\n", ran.error
            assert came == [f"Bearer {VALUE}", "Bearer {{TOKEN}}"]
    finally:
        receiver.shutdown()
        serving.join()
        receiver.server_close()
