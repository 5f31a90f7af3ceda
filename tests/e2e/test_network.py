"""From a program in a real VM to a server outside it, through agent and broker, and over a killed server."""

from __future__ import annotations

import http.server
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests.e2e.test_server import create, execute, place
from tests.server_process import ServerProcess, server

__all__ = ["place"]

FETCH = """
import urllib.request
print(urllib.request.urlopen("http://{address}:{port}/page", timeout=20).read().decode(), end="")
"""
CONNECT = """
import socket
with socket.create_connection(({address!r}, {port}), timeout=20) as connection:
    connection.sendall(b"GET /page HTTP/1.0\\r\\n\\r\\n")
    print(b"".join(iter(lambda: connection.recv(4096), b"")).decode().splitlines()[-1])
"""


class Page(http.server.BaseHTTPRequestHandler):
    """Says which path was asked for."""

    def do_GET(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.wfile.write(f"outside:{self.path}\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """To nobody."""


def own_address() -> str:
    """Where this host is reached; nothing is sent to find out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address: str = probe.getsockname()[0]
        return address


@contextmanager
def website(address: str) -> Iterator[int]:
    with http.server.ThreadingHTTPServer((address, 0), Page) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield site.server_address[1]
        finally:
            site.shutdown()
            thread.join()


def reached(running: ServerProcess, vm: Any, code: str) -> str:
    answer = execute(running, vm["id"], code=code)
    return str(answer["output"] or answer["error"])


def test_a_program_reaches_what_is_allowed_and_only_that(place: tuple[Path, Path]) -> None:
    """By the proxy it is told of, and knowing nothing of it."""
    state_dir, output = place
    address = own_address()
    with website(address) as port:
        settings = {
            "BACKEND": "bubblewrap",
            "NETWORK__ADMIT": json.dumps([f"{address}:{port}"]),
            "NETWORK__DIRECT_PORTS": json.dumps([80, 443, port]),
        }
        ways = [code.format(address=address, port=port) for code in (FETCH, CONNECT)]
        with server(state_dir, output, **settings) as first:
            vm = create(first, "inside")
            assert vm["network"] == "filtered"
            assert [reached(first, vm, way) for way in ways] == ["outside:/page\n"] * 2
            denied = first.client.put(f"/api/vms/{vm['id']}/network", json={"deny": [address]})
            assert denied.status_code == 200, denied.text
            assert not any("outside" in reached(first, vm, way) for way in ways)
            allowed = first.client.put(f"/api/vms/{vm['id']}/network", json={})
            assert allowed.status_code == 200, allowed.text
            first.end(signal.SIGKILL)
        with server(state_dir, output, **settings) as second:
            assert [reached(second, vm, way) for way in ways] == ["outside:/page\n"] * 2
