"""What is compared.  Each contender runs the same program and answers its output.

`execute` runs it in a sandbox that stands ready; `create` makes one, has it answer once, and returns what
removes it.  A contender lacks a verb where it has no such notion (a bare interpreter has no sandbox).
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

from bench.server import Client, Server

CODE = "print(1+1)"
EXPECTED = "2"
IMAGE = os.environ.get("VMPOOL_BENCH_IMAGE", "vmpool/python")


class Contender:
    """One way of running the program; `sandboxes` stand ready after `prepare`."""

    name: str
    version: str = ""

    def prepare(self, sandboxes: int) -> None:
        """Make the sandboxes that `execute` uses."""

    def execute(self, sandbox: int) -> str:
        """Run the program in ready sandbox number `sandbox`."""
        raise NotImplementedError

    def create(self) -> tuple[str, Callable[[], None]] | None:
        """Make a sandbox, run the program once: its output, and what removes the sandbox."""
        return None

    def close(self) -> None:
        """Remove what was made; a second time does nothing."""


class Bare(Contender):
    """The VM's own interpreter on the host, by absolute path: a shim costs nine times that."""

    def __init__(self, name: str, interpreter: str) -> None:
        self.name = name
        self._interpreter = interpreter
        self.version = subprocess.check_output([interpreter, "--version"], text=True).strip()

    def execute(self, sandbox: int) -> str:
        return subprocess.run(
            [self._interpreter, "-c", CODE], stdout=subprocess.PIPE, check=True
        ).stdout.decode()


def bare_interpreters() -> list[Contender]:
    """The interpreter a bubblewrap VM mounts, and Debian's own, which the docker images carry."""
    found = {
        "bare python3 (bubblewrap's)": _base_interpreter(),
        "bare python3 (Debian's)": "/usr/bin/python3",
    }
    return [Bare(name, path) for name, path in found.items() if Path(path).exists()]


def _base_interpreter() -> str:
    major, minor = sys.version_info[:2]
    return os.path.realpath(Path(sys.base_prefix, "bin", f"python{major}.{minor}"))


class VMPool(Contender):
    """vmpool through its REST API, over one raw keep-alive connection a sandbox."""

    def __init__(self, backend: str, server: Server) -> None:
        self.name = f"vmpool {backend}, REST"
        self._server = server
        self._control = Client(server)
        pool = self._control.get("/api/vms/pool-status")
        self.version = f"vmpool on {pool['backend']}"
        self._names = count()
        self._ready: list[tuple[Client, bytes]] = []
        self._made: list[int] = []

    def prepare(self, sandboxes: int) -> None:
        for _ in range(sandboxes):
            vm = self._make()
            self._made.append(vm)
            client = Client(self._server)
            request = client.render("POST", f"/api/vms/{vm}/execute", {"code": CODE})
            client.send(request)  # the interpreter is warmed by the first use
            self._ready.append((client, request))

    def execute(self, sandbox: int) -> str:
        client, request = self._ready[sandbox]
        output: str = client.send(request)["output"]
        return output

    def create(self) -> tuple[str, Callable[[], None]]:
        vm = self._make()
        output = self._control.post(f"/api/vms/{vm}/execute", {"code": CODE})["output"]
        return output, lambda: self._control.delete(f"/api/vms/{vm}")

    def close(self) -> None:
        while self._ready:
            self._ready.pop()[0].__exit__()
        while self._made:
            self._control.delete(f"/api/vms/{self._made.pop()}")

    def _make(self) -> int:
        body = {"name": f"bench-{next(self._names)}", "language": "python"}
        made: int = self._control.post("/api/vms/create", body)["id"]
        return made


class VMPoolSDK(Contender):
    """The same through the Python SDK's synchronous client."""

    def __init__(self, backend: str, server: Server) -> None:
        from vmpool import Client as SDKClient

        self.name = f"vmpool {backend}, SDK"
        self._client = SDKClient(server.url, server.key)
        self._ready: list[int] = []

    def prepare(self, sandboxes: int) -> None:
        for number in range(sandboxes):
            vm = self._client.create_vm(f"sdk-{number}", "python")
            self._client.execute(vm.id, CODE)
            self._ready.append(vm.id)

    def execute(self, sandbox: int) -> str:
        return self._client.execute(self._ready[sandbox], CODE).output

    def close(self) -> None:
        while self._ready:
            self._client.delete_vm(self._ready.pop())


class DockerCLI(Contender):
    """`docker exec` into running containers; `docker run -d` and `docker exec` to make one."""

    name = "docker exec, CLI"

    def __init__(self) -> None:
        self.version = subprocess.check_output(
            ["docker", "version", "--format", "engine {{.Server.Version}}"], text=True
        ).strip()
        self._ready: list[str] = []

    def prepare(self, sandboxes: int) -> None:
        self._ready += [self._run_detached() for _ in range(sandboxes)]

    def execute(self, sandbox: int) -> str:
        return self._exec(self._ready[sandbox])

    def create(self) -> tuple[str, Callable[[], None]]:
        container = self._run_detached()
        return self._exec(container), lambda: self._remove(container)

    def close(self) -> None:
        while self._ready:
            self._remove(self._ready.pop())

    def _run_detached(self) -> str:
        command = ["docker", "run", "-d", "--rm", "--init", "--entrypoint", "sleep", IMAGE, "3600"]
        return subprocess.check_output(command, text=True).strip()

    def _exec(self, container: str) -> str:
        return subprocess.check_output(["docker", "exec", container, "python3", "-c", CODE], text=True)

    def _remove(self, container: str) -> None:
        subprocess.run(["docker", "rm", "-f", container], stdout=subprocess.DEVNULL, check=True)


class DockerRun(Contender):
    """`docker run --rm`: a new container for each program."""

    name = "docker run --rm, CLI"

    def create(self) -> tuple[str, Callable[[], None]]:
        command = ["docker", "run", "--rm", "--entrypoint", "python3", IMAGE, "-c", CODE]
        return subprocess.check_output(command, text=True), lambda: None


class _EngineConnection(http.client.HTTPConnection):
    def __init__(self) -> None:
        super().__init__("docker")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect("/var/run/docker.sock")


class DockerAPI(DockerCLI):
    """The engine's exec through its API: what a library costs at least, without starting the CLI."""

    name = "docker exec, API"

    def _exec(self, container: str) -> str:
        created = self._call(
            f"/containers/{container}/exec",
            {"Cmd": ["python3", "-c", CODE], "AttachStdout": True, "AttachStderr": True},
        )
        stream = self._call(f"/exec/{json.loads(created)['Id']}/start", {"Detach": False, "Tty": False})
        return stream[8:].decode()  # one frame: eight bytes of header, then the data

    def _call(self, path: str, body: object) -> bytes:
        connection = _EngineConnection()
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            payload = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(payload.decode())
        return payload
