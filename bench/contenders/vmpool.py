"""vmpool itself: its REST API over raw keep-alive connections, and its Python SDK."""

from __future__ import annotations

import json
import time
from functools import partial
from itertools import count
from typing import Any

import vmpool
from bench.contenders.base import Batches, Creates, Loads, Prints
from bench.contenders.names import BUBBLEWRAP, DOCKER
from bench.figures import Figures, printed, summary
from bench.load import at_once, drive, drive_calls
from bench.program import PYTHON, Program, WrongOutput, check, printing
from bench.rest import Client
from bench.server import Server
from vmpool.client import Client as SDKClient

_names = count()


class VMPool(Loads, Creates, Batches, Prints):
    """Through the REST API; every create and every ready sandbox has a connection of its own."""

    def __init__(self, name: str, server: Server, program: Program = PYTHON) -> None:
        self.name = name
        self.sustained = name in (BUBBLEWRAP, DOCKER)
        self.program = program
        self.server = server
        self._control = Client(server.address)
        self._clients: list[Client] = []
        self._vms: list[int] = []
        backend = self._control.get("/api/vms/pool-status")["backend"]
        self.version = (
            f"vmpool {vmpool.__version__}, {backend['name']} {backend['version']}, {backend['grade']}"
        )

    # One sandbox after another

    def prepare(self, sandboxes: int) -> None:
        while len(self._vms) < sandboxes:
            self._vms.append(self.make(self._control))
            self._clients.append(Client(self.server.address))
            self.execute(len(self._vms) - 1)

    def execute(self, sandbox: int) -> float:
        request = self._request(self._vms[sandbox])
        started = time.perf_counter()
        answer = self._clients[sandbox].send_raw(request)
        elapsed = time.perf_counter() - started
        check(json.loads(answer)["output"], self.program)
        return elapsed

    def create(self) -> tuple[float, str]:
        return self._create(self._control)

    def remove(self, sandbox: str) -> float:
        return self.timed("POST", f"/api/vms/{sandbox}/stop") + self.timed("DELETE", f"/api/vms/{sandbox}")

    def discard(self, sandbox: str) -> None:
        self._control.delete(f"/api/vms/{sandbox}")

    def timed(self, method: str, path: str) -> float:
        """Seconds of one call without a body."""
        request = self.server.address.render(method, path)
        started = time.perf_counter()
        self._control.send_raw(request)
        return time.perf_counter() - started

    # Many at once

    def load(self, in_flight: int, seconds: float) -> Figures:
        expected = self._right()
        address = self.server.address
        return drive(
            [
                address.line(self._request(self._vms[number % len(self._vms)]), expected)
                for number in range(in_flight)
            ],
            seconds,
        )

    def burst(self, count: int) -> Figures:
        return self.many(count, count)

    def many(self, count: int, width: int) -> Figures:
        """`count` times from nothing to the first output, over `width` connections; all removed again."""
        free = [Client(self.server.address) for _ in range(width)]
        made: list[str] = []

        def one() -> None:
            client = free.pop()
            try:
                made.append(self._create(client)[1])
            finally:
                free.append(client)

        try:
            return at_once([one] * count, width)
        finally:
            for sandbox in made:
                self.discard(sandbox)
            for client in free:
                client.close()

    def batch(self, sandboxes: int) -> Figures:
        """Streamed, so that the `first` item's time can be told from the last's."""
        body = {"code": self.program.code, "vm_ids": self._vms[:sandboxes]}
        request = self.server.address.render(
            "POST", "/api/vms/batch-execute", body, accept="text/event-stream"
        )
        started = time.perf_counter()
        answer, first = self._control.send_timed(request, b'"output"')
        elapsed = time.perf_counter() - started
        right = answer.count(self._right())
        return summary([elapsed], sandboxes - right) | {"first": first}

    def output(self, size: int) -> Figures:
        request = self._request(self._vms[0], printing(size))
        started = time.perf_counter()
        answer = self._control.send_raw(request)
        elapsed = time.perf_counter() - started
        decoded = json.loads(answer)
        return printed(elapsed, len(decoded["output"]), size, said=decoded["truncated"])

    # Sandboxes

    def make_whole(self, client: Client) -> dict[str, Any]:
        """A new VM, as the API tells it."""
        body = {"name": f"bench-{next(_names)}", "language": self.program.language}
        made: dict[str, Any] = client.post("/api/vms/create", body)
        return made

    def make(self, client: Client) -> int:
        """A new VM's id."""
        made: int = self.make_whole(client)["id"]
        return made

    def run(self, client: Client, vm: int) -> None:
        """Execute the program in a VM over `client`; WrongOutput unless it prints what it should."""
        check(client.send(self._request(vm))["output"], self.program)

    def interpreter(self) -> str:
        """Path of the interpreter in a prepared VM."""
        request = self._request(self._vms[0], Program("python", "import sys; print(sys.executable)", ""))
        path: str = self._clients[0].send(request)["output"].strip()
        return path

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        while self._vms:
            self.discard(str(self._vms.pop()))

    def _create(self, client: Client) -> tuple[float, str]:
        started = time.perf_counter()
        vm = self.make(client)
        try:
            self.run(client, vm)
        except WrongOutput:
            client.delete(f"/api/vms/{vm}")
            raise
        return time.perf_counter() - started, str(vm)

    def _right(self) -> bytes:
        """What an answer has in it where the program printed what it should."""
        return b'"output":' + json.dumps(self.program.expected + "\n").encode()

    def _request(self, vm: int, program: Program | None = None) -> bytes:
        body = {"code": (program or self.program).code}
        return self.server.address.render("POST", f"/api/vms/{vm}/execute", body)


class VMPoolSDK(Loads, Creates):
    """Through the synchronous client of the Python SDK."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.version = f"vmpool {vmpool.__version__}"
        self.mode = "one Client; a thread for each execution in flight"
        self._client = SDKClient(server.address.url, server.address.key)
        self._vms: list[int] = []

    def prepare(self, sandboxes: int) -> None:
        while len(self._vms) < sandboxes:
            self._vms.append(self._client.create_vm(f"bench-{next(_names)}", "python").id)
            self.execute(len(self._vms) - 1)

    def execute(self, sandbox: int) -> float:
        started = time.perf_counter()
        output = self._client.execute(self._vms[sandbox], PYTHON.code).output
        elapsed = time.perf_counter() - started
        check(output)
        return elapsed

    def create(self) -> tuple[float, str]:
        started = time.perf_counter()
        vm = self._client.create_vm(f"bench-{next(_names)}", "python")
        output = self._client.execute(vm.id, PYTHON.code).output
        elapsed = time.perf_counter() - started
        check(output)
        return elapsed, str(vm.id)

    def remove(self, sandbox: str) -> float:
        started = time.perf_counter()
        self._client.delete_vm(int(sandbox))
        return time.perf_counter() - started

    def load(self, in_flight: int, seconds: float) -> Figures:
        calls = [partial(self.execute, number % len(self._vms)) for number in range(in_flight)]
        return drive_calls(calls, seconds)

    def burst(self, count: int) -> Figures:
        made: list[str] = []
        try:
            return at_once([lambda: made.append(self.create()[1])] * count)
        finally:
            for sandbox in made:
                self.remove(sandbox)

    def close(self) -> None:
        while self._vms:
            self._client.delete_vm(self._vms.pop())
