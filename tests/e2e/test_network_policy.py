"""The policies of real VMs: what programs reach, what they are refused, groups, and changes while they run.

Everything is on this host: servers on addresses that the server is told to admit, and on some it is not.
Package registries are tried with their own clients where this host reaches them.
"""

from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from pip._internal.models.index import PyPI

from tests.e2e.pools import Pool, delete_vms, why_missing
from tests.server_process import server
from vmpool import Client, VMHandle
from vmpool.network.addresses import parse, refused_range

pytestmark = pytest.mark.timeout(180)

ADMITTED, CLOSED = "127.0.0.3", "127.0.0.4"


def hosts_of_npm() -> tuple[str, ...]:
    """Its registry's host, as npm is set up here; none without npm."""
    npm = shutil.which("npm")
    if npm is None:
        return ()
    asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=True)
    return (urlsplit(asked.stdout.strip()).hostname or "",)


REGISTRIES = {"pip": (PyPI.netloc, PyPI.file_storage_domain), "npm": hosts_of_npm()}
AUTHORITIES = dict.fromkeys(("PIP_CERT", "NODE_EXTRA_CA_CERTS"), "/home/user/ca.pem")

FETCH = """
import urllib.error, urllib.request
try:
    with urllib.request.urlopen({url!r}, timeout=20) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as refusal:
    print(refusal.code, refusal.read().decode())
except OSError as failure:
    print(type(failure).__name__, failure)
"""
CONNECT = """
import socket
try:
    with socket.create_connection(({host!r}, {port}), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(connection.makefile("rb").read().decode())
except OSError as failure:
    print(type(failure).__name__)
"""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.path == "/endless":
            try:
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            except OSError:
                return
        self.wfile.write(b"reached")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def web(address: str, port: int = 0) -> Iterator[int]:
    """A web server at this address of the host; its port."""
    with http.server.ThreadingHTTPServer((address, port), _Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


def own_address() -> str | None:
    """An address of this host that is not loopback; None where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        found: str = probe.getsockname()[0]
    return found


def to_admit(hosts: tuple[str, ...]) -> list[str]:
    """What of these hosts' addresses a VM may not reach by itself."""
    try:
        found = {str(entry[4][0]) for host in hosts for entry in socket.getaddrinfo(host, 443)}
    except OSError:
        return []
    addresses = [address for address in map(parse, found) if address is not None]
    return [str(address) for address in addresses if refused_range(address) is not None]


@dataclass(frozen=True)
class Networked(Pool):
    """url: the server's.  port: of web servers at `ADMITTED`, `CLOSED` and `outside`, the host's own."""

    url: str
    port: int
    outside: str | None


@pytest.fixture(scope="module", params=["bubblewrap", "docker"])
def networked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Networked]:
    """A server whose operator admits one address of this host, and its own by another port."""
    backend: str = request.param
    missing = why_missing(backend)
    if missing is not None:
        if backend in request.config.getoption("--require-backend"):
            pytest.fail(f"{backend} is required: {missing}")
        pytest.skip(f"{backend}: {missing}")
    directory = tmp_path_factory.mktemp(f"network-{backend}")
    outside = own_address()
    hosts = tuple(host for of_one in REGISTRIES.values() for host in of_one)
    with web(ADMITTED) as port, web(CLOSED, port), web(outside or "127.0.0.5", port):
        admit = [f"{ADMITTED}:{port}", *([f"{outside}:{port}"] if outside else []), *to_admit(hosts)]
        settings = {
            "BACKEND": backend,
            "NETWORK__ADMIT": str(admit).replace("'", '"'),
            "NETWORK__DIRECT_PORTS": f"[80, 443, {port}]",
        }
        with (
            server(directory / "state", directory / "log", **settings) as process,
            Client(process.url, process.key) as client,
        ):
            pool = Networked(backend, client, process.process.pid, process.url, port, outside)
            yield pool
            delete_vms(pool)


@pytest.fixture(scope="module")
def vm(networked: Networked) -> Iterator[VMHandle]:
    with networked.client.create_vm("box", "python") as made:
        yield made


def fetched(vm: VMHandle, url: str) -> str:
    return vm.execute(FETCH.format(url=url), timeout=60).output


def test_a_program_reaches_what_is_admitted_and_is_told_what_is_not(
    networked: Networked, vm: VMHandle
) -> None:
    assert fetched(vm, f"http://{ADMITTED}:{networked.port}/") == "200 reached\n"
    refusal = fetched(vm, f"http://{CLOSED}:{networked.port}/")
    assert refusal.startswith(
        f"403 vmpool: {CLOSED}:{networked.port} is in 127.0.0.0/8 (loopback, RFC 1122)."
    )
    assert fetched(vm, f"http://{ADMITTED}:{networked.port + 1}/").startswith("403 ")
    assert fetched(vm, "http://169.254.169.254/latest/meta-data/").startswith("403 ")
    assert fetched(vm, "http://no-such-name.invalid/").startswith("502 ")
    assert fetched(vm, f"http://[::ffff:{CLOSED}]:{networked.port}/").startswith("403 ")
    verdicts = [(entry.verdict, entry.rule) for entry in vm.network_log(limit=6)]
    assert verdicts[-1] == ("allowed", f"admit {ADMITTED}:{networked.port}")
    assert {verdict for verdict, _ in verdicts[:-1]} == {"refused", "failed"}


def test_a_program_that_knows_no_proxy_reaches_the_same(networked: Networked, vm: VMHandle) -> None:
    if networked.outside is None:
        pytest.skip("this host has no address but loopback")
    reached = vm.execute(CONNECT.format(host=networked.outside, port=networked.port), timeout=60).output
    assert reached.endswith("reached\n")
    for host, port in (("169.254.169.254", 80), ("10.0.0.1", 443)):
        assert vm.execute(CONNECT.format(host=host, port=port), timeout=60).output == "ConnectionResetError\n"
    assert vm.network_log(limit=1)[0].via == "direct"


def test_the_server_itself_is_not_reached(networked: Networked, vm: VMHandle) -> None:
    listening = httpx.URL(networked.url)
    for host in ("127.0.0.2", "localhost.", networked.outside or "127.0.0.2"):
        assert not fetched(vm, f"http://{host}:{listening.port}/health").startswith("200 ")


def test_a_change_of_policy_cuts_what_runs(networked: Networked, vm: VMHandle) -> None:
    endless = f"import urllib.request as r; r.urlopen('http://{ADMITTED}:{networked.port}/endless').read()"
    held: list[str] = []
    thread = threading.Thread(target=lambda: held.append(vm.execute(endless, timeout=60).error))
    thread.start()
    deadline = time.monotonic() + 30
    while vm.network_use().use.open == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    vm.set_network(deny=[f"{ADMITTED}"])
    thread.join(60)
    assert "Error" in held[0]
    assert fetched(vm, f"http://{ADMITTED}:{networked.port}/").startswith("403 ")
    vm.set_network()
    assert fetched(vm, f"http://{ADMITTED}:{networked.port}/") == "200 reached\n"


def test_vms_of_a_group_reach_each_other(networked: Networked, vm: VMHandle) -> None:
    serve = "cd /tmp && echo inside > index.html && python3 -m http.server 8000"
    with networked.client.create_vm("web", "python", network_policy={"group": "lab"}) as other:
        thread = threading.Thread(target=lambda: other.execute(command=serve, timeout=60))
        thread.start()
        assert fetched(vm, "http://web.vm:8000/").startswith("403 ")
        vm.set_network(group="lab")
        deadline = time.monotonic() + 30
        while (said := fetched(vm, "http://web.vm:8000/index.html")) != "200 inside\n\n":
            assert time.monotonic() < deadline, said
        vm.set_network()
        assert fetched(vm, "http://web.vm:8000/").startswith("403 ")
        other.stop()
        thread.join(60)


@pytest.mark.parametrize("client", REGISTRIES)
def test_a_package_registry_through_its_own_client(networked: Networked, client: str) -> None:
    hosts = REGISTRIES[client]
    if not hosts or not all(answers(host) for host in hosts):
        pytest.skip(f"this host does not reach {', '.join(hosts) or 'a registry of ' + client}")
    language, command = {
        "pip": (
            "python",
            "pip install -q --no-deps six && python3 -c 'import six; print(six.__name__)'",
        ),
        "npm": ("nodejs", "npm install --silent --no-audit is-number && ls node_modules"),
    }[client]
    with networked.client.create_vm(client, language, network_policy={"allow": list(hosts)}) as made:
        made.execute(command="cat > ca.pem", stdin=authorities())  # a mirror may have one of its own
        ran = made.execute(command=command, timeout=120, env=AUTHORITIES)
        assert ran.output.split() == [{"pip": "six", "npm": "is-number"}[client]], ran.error
        assert {entry.host for entry in made.network_log() if entry.verdict == "allowed"} <= set(hosts)


def authorities() -> str:
    """The certificates this host trusts."""
    return Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt").read_text()


def answers(host: str) -> bool:
    """Whether a connection to the host's TLS port can be made from here."""
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True
