"""A web server in a real VM, reached in every way there is."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from tests.e2e.conftest import VM, Site
from tests.e2e.pools import Pool
from vmpool import AsyncClient, VMHandle
from vmpool.client import ClientError
from vmpool.client.errors import NothingListens, VMNotRunning

pytestmark = pytest.mark.timeout(120)

SERVER = """
import base64, hashlib, http.server, socketserver

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            return self.socket()
        kinds = {"/": "text/html", "/page.js": "text/javascript", "/data": "text/plain"}
        bodies = {"/": PAGE, "/page.js": SCRIPT, "/data": "from inside"}
        path, _, told = self.path.partition("?")
        if path == "/told":
            open("told", "w").write(told)
        self.answer(kinds.get(path, "text/plain"), bodies.get(path, str(self.headers)).encode())

    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            digest.update(piece)
            left -= len(piece)
        self.answer("text/plain", digest.hexdigest().encode())

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def socket(self):
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1((self.headers["Sec-WebSocket-Key"] + guid).encode()).digest())
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        head = self.rfile.read(2)
        mask = self.rfile.read(4)
        text = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(head[1] & 127)))
        said = b"heard " + text
        self.wfile.write(bytes((0x81, len(said))) + said + b"\\x88\\x00")
        self.close_connection = True

    def log_message(self, *arguments):
        pass

PAGE = '''<!doctype html><title>inside</title><p id="said">nothing yet</p><script src="/page.js"></script>'''
SCRIPT = '''
const said = document.getElementById("said");
fetch("/data").then(answer => answer.text()).then(text => {
  const socket = new WebSocket("ws://" + location.host + "/ws");
  socket.onopen = () => socket.send("you");
  socket.onmessage = event => {
    said.textContent = text + ", " + event.data + ", cookies " + document.cookie.length;
    fetch("/told?" + said.textContent.replaceAll(" ", "_"));
  };
});
'''
http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""


@contextmanager
def serving(vm: VMHandle) -> Iterator[None]:
    """The web server above runs in the VM."""

    def run() -> None:
        try:
            vm.execute(SERVER, timeout=100)
        except ClientError:
            pass  # the VM is deleted under it

    thread = threading.Thread(target=run)
    thread.start()
    try:
        with vm.forward(8080) as port:
            for _ in range(400):
                try:
                    httpx.get(port.url, trust_env=False)
                    break
                except httpx.TransportError:
                    threading.Event().wait(0.05)
        yield
    finally:
        vm.delete()
        thread.join(30)


@pytest.fixture
def web(pool: Pool) -> Iterator[VMHandle]:
    """A VM without a network, with a web server in it."""
    vm = pool.client.create_vm("web", "python", network="none")
    with serving(vm):
        yield vm


def base(pool: Pool) -> tuple[str, dict[str, str]]:
    """Where the server is, and the header that lets its owner in."""
    address = pool.client._connection.address()
    return address.url, address.headers()


def test_with_a_key(pool: Pool, web: VMHandle) -> None:
    url, key = base(pool)
    with httpx.Client(base_url=f"{url}/api/vms/web/ports/8080", headers=key, trust_env=False) as client:
        assert client.get("/data").text == "from inside"
        assert key["Authorization"].split()[1] not in client.get("/headers").text
        large = os.urandom(48 << 20)  # more than a request of the API's own may have
        assert client.post("/", content=large, timeout=60).text == hashlib.sha256(large).hexdigest()


def test_forwarded_to_this_machine(web: VMHandle) -> None:
    with web.forward(8080) as port:
        answers: list[str] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(httpx.get(f"{port.url}/data", trust_env=False).text)
            )
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == ["from inside"] * 20
        with socket.create_connection((port.host, port.port), timeout=20) as connection:
            connection.sendall(b"GET /data HTTP/1.0\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            heard = b""
            while data := connection.recv(1000):
                heard += data
            assert heard.endswith(b"from inside")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((port.host, port.port), timeout=20)


def test_problems_are_told(pool: Pool, web: VMHandle) -> None:
    told: list[ClientError] = []
    with web.forward(8081, problem=told.append) as port:
        with socket.create_connection((port.host, port.port), timeout=20) as connection:
            assert connection.recv(1) == b""
        assert isinstance(told[0], NothingListens)
        web.stop()
        with socket.create_connection((port.host, port.port), timeout=20) as connection:
            assert connection.recv(1) == b""
        assert isinstance(told[1], VMNotRunning)
        with pytest.raises(ClientError, match=f"cannot listen at port {port.port} of this machine"):
            with pool.client.forward("web", 8080, local_port=port.port):
                pass


def test_the_asynchronous_client_forwards_too(pool: Pool, web: VMHandle) -> None:
    url, key = base(pool)

    async def ask() -> str:
        async with AsyncClient(url, key["Authorization"].split()[1]) as client:
            vm = await client.get_vm("web")
            async with vm.forward(8080) as port, httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(f"{port.url}/data")).text

    assert anyio.run(ask) == "from inside"


def test_through_a_link(web: VMHandle) -> None:
    link = web.share(8080, 60)
    parts = urlsplit(link.url)
    with httpx.Client(base_url=f"http://127.0.0.1:{parts.port}", trust_env=False) as client:
        host = {"Host": parts.netloc}
        assert client.get(f"/data?{parts.query}", headers=host).text == "from inside"
        assert client.get("/data", headers=host).status_code == 401
        web.revoke_shares(8080)
        assert client.get(f"/data?{parts.query}", headers=host).status_code == 401


def test_a_websocket_through_a_link(web: VMHandle) -> None:
    parts = urlsplit(web.share(8080).url)
    assert parts.port is not None
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection(("127.0.0.1", parts.port), timeout=20) as connection:
        connection.sendall(
            f"GET /ws?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        mask = b"mask"
        text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(b"you"))
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += connection.recv(1000)
        connection.sendall(bytes((0x81, 0x83)) + mask + text)
        while data := connection.recv(1000):
            heard += data
    assert heard.startswith(b"HTTP/1.1 101")
    assert heard.endswith(b"\x81\x09heard you\x88\x00")


def test_in_a_browser(web: VMHandle) -> None:
    """Its page, a script by an absolute path, what that fetches, and a WebSocket; no cookie it can read.

    The page tells its own server what it came to: a browser that prints it would have to guess when.
    """
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no chromium")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as own:
        words = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server"),
            *("--disable-dev-shm-usage", "--remote-debugging-port=0", f"--user-data-dir={own}/profile"),
            web.share(8080).url,
        ]
        log = Path(own, "log")
        with log.open("w") as sink:
            running = subprocess.Popen(
                words, env={**os.environ, "TMPDIR": own}, stdout=sink, stderr=sink, start_new_session=True
            )
        try:
            told = told_by(web)
        finally:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait(30)
        assert told == "from_inside,_heard_you,_cookies_0", log.read_text()


def told_by(web: VMHandle) -> str | None:
    """What the page came to, once it has told its server."""
    for _ in range(300):
        told = web.execute(command="cat told 2>/dev/null || true").output
        if told:
            return told
        time.sleep(0.25)
    return None


# -- the command


@pytest.fixture
def site_vm(site: Site) -> Iterator[tuple[Site, VMHandle]]:
    from vmpool import Client

    with Client(site.url, site.key) as client:
        vm = client.create_vm("web", "python")
        with serving(vm):
            yield site, vm


def test_vm_forward(site_vm: tuple[Site, VMHandle]) -> None:
    site, _ = site_vm
    command = [str(VM), "forward", "web", "0:8080", "0:8081"]
    with subprocess.Popen(
        command,
        env=site.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        try:
            ports = []
            for remote in (8080, 8081):
                line = running.stdout.readline()
                found = re.fullmatch(rf"127\.0\.0\.1:(\d+) leads to port {remote} of VM \d+\n", line)
                assert found is not None, line
                ports.append(int(found[1]))
            assert httpx.get(f"http://127.0.0.1:{ports[0]}/data", trust_env=False).text == "from inside"
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{ports[1]}/", trust_env=False)
            assert "nothing listens at port 8081" in running.stderr.readline()
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130


def test_vm_forward_refuses(site_vm: tuple[Site, VMHandle]) -> None:
    site, _ = site_vm
    for words, status, said in (
        (("web", "x"), 2, "is not [LOCAL:]PORT"),
        (("web", "8080:0"), 2, "names no port in the VM"),
        (("web", "70000"), 2, "is not [LOCAL:]PORT"),
        (("nobody", "8080"), 125, "no VM 'nobody'"),
    ):
        done = site.vm("forward", *words)
        assert (done.returncode, said in " ".join(done.stderr.split())) == (status, True), done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = site.vm("forward", "web", f"{taken.getsockname()[1]}:8080")
        assert done.returncode == 125 and "cannot listen at port" in done.stderr


def test_vm_share(site_vm: tuple[Site, VMHandle]) -> None:
    site, _ = site_vm
    url = site.done("share", "web", "8080", "--for", "10m").strip()
    parts = urlsplit(url)
    with httpx.Client(base_url=f"http://127.0.0.1:{parts.port}", headers={"Host": parts.netloc}) as client:
        assert client.get(f"/data?{parts.query}").text == "from inside"
        assert site.data("share", "web", "8080")["port"] == 8080
        assert "no link" in site.done("share", "web", "8080", "--revoke")
        assert client.get(f"/data?{parts.query}").status_code == 401
    assert site.vm("share", "web", "8080", "--for", "soon").returncode == 2
