"""Docker without a library: its command, and its engine's API over the raw socket."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from functools import partial
from pathlib import Path

from bench.contenders.base import Creates, Loads, Prints
from bench.contenders.names import DOCKER_API, DOCKER_CLI, DOCKER_CLI_NO_NETWORK, DOCKER_RUN
from bench.figures import Figures, printed
from bench.load import at_once, drive_calls
from bench.program import PYTHON, check, printing
from bench.spawn import output_of

IMAGE = os.environ.get("VMPOOL_BENCH_IMAGE", "vmpool/python")
PYTHON3 = "/usr/bin/python3"
"""In the image, by absolute path."""
LABEL = f"vmpool.bench={os.getpid()}"
"""On everything made here, so that it can be found again."""
SOCKET = "/var/run/docker.sock"


def docker_program() -> str | None:
    """Absolute path of the docker command."""
    return shutil.which("docker")


def sweep() -> None:
    """Remove whatever this run has left behind, a burst that broke off for one."""
    docker = docker_program()
    if docker and (left := output_of([docker, "ps", "-aq", "--filter", f"label={LABEL}"]).split()):
        output_of([docker, "rm", "-f", *left])


def unpack(image: str, directory: Path) -> None:
    """Write an image's files below `directory`, but for its devices.  CalledProcessError."""
    docker = docker_program() or "docker"
    container = output_of([docker, "create", "--label", LABEL, image, "true"]).strip()
    try:
        with subprocess.Popen([docker, "export", container], stdout=subprocess.PIPE) as export:
            subprocess.run(
                ["tar", "-x", "-C", directory, "--exclude", "dev/*"], stdin=export.stdout, check=True
            )
    finally:
        output_of([docker, "rm", container])


class _Docker(Creates):
    """The parts that both ways share: containers that sleep, made and removed by the command."""

    name: str
    settle = 0.05
    network: str | None = None

    def __init__(self) -> None:
        self._docker = docker_program() or "docker"
        self.version = output_of(
            [self._docker, "version", "--format", "engine {{.Server.Version}}, client {{.Client.Version}}"]
        ).strip()
        self._ready: list[str] = []

    def create(self) -> tuple[float, str]:
        started = time.perf_counter()
        container = self.start()
        output = self.run(container, PYTHON.code)
        elapsed = time.perf_counter() - started
        check(output)
        return elapsed, container

    def remove(self, sandbox: str) -> float:
        started = time.perf_counter()
        output_of([self._docker, "rm", "-f", sandbox])
        return time.perf_counter() - started

    def burst(self, count: int) -> Figures:
        made: list[str] = []
        try:
            return at_once([lambda: made.append(self.create()[1])] * count)
        finally:
            if made:
                output_of([self._docker, "rm", "-f", *made])

    def start(self) -> str:
        """A running container's id."""
        network = ("--network", self.network) if self.network else ()
        command = ["run", "-d", "--label", LABEL, *network, "--entrypoint", "sleep", IMAGE, "3600"]
        return output_of([self._docker, *command]).strip()

    def run(self, container: str, code: str) -> str:
        """What `python3 -c code` prints in a running container."""
        return output_of([self._docker, "exec", container, PYTHON3, "-c", code])

    def close(self) -> None:
        ready, self._ready = self._ready, []
        if ready:
            output_of([self._docker, "rm", "-f", *ready])


class DockerCLI(_Docker, Loads, Prints):
    """`docker exec` into containers that run; `docker run -d` and `docker exec` to make one."""

    name = DOCKER_CLI
    every = 2

    def prepare(self, sandboxes: int) -> None:
        while len(self._ready) < sandboxes:
            self._ready.append(self.start())
            self.execute(len(self._ready) - 1)

    def execute(self, sandbox: int) -> float:
        started = time.perf_counter()
        output = self.run(self._ready[sandbox], PYTHON.code)
        elapsed = time.perf_counter() - started
        check(output)
        return elapsed

    def load(self, in_flight: int, seconds: float) -> Figures:
        calls = [partial(self.execute, number % len(self._ready)) for number in range(in_flight)]
        return drive_calls(calls, seconds)

    def output(self, size: int) -> Figures:
        code = printing(size).code
        started = time.perf_counter()
        output = self.run(self._ready[0], code)
        return printed(time.perf_counter() - started, len(output), size)


class DockerCLINoNetwork(_Docker):
    """The same without a network, which is what a VM has."""

    name = DOCKER_CLI_NO_NETWORK
    network = "none"


class DockerRun(_Docker):
    """`docker run --rm`: a new container for each program, gone with it."""

    name = DOCKER_RUN
    largest_burst = 10

    def create(self) -> tuple[float, str]:
        command = ["run", "--rm", "--label", LABEL, "--entrypoint", PYTHON3, IMAGE, "-c", PYTHON.code]
        started = time.perf_counter()
        output = output_of([self._docker, *command])
        elapsed = time.perf_counter() - started
        check(output)
        return elapsed, ""

    def remove(self, sandbox: str) -> float:
        return 0.0

    def burst(self, count: int) -> Figures:
        return at_once([self.create] * count)


class _EngineConnection(http.client.HTTPConnection):
    def __init__(self) -> None:
        super().__init__("docker", timeout=120)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(SOCKET)


class DockerAPI(DockerCLI):
    """The engine's exec through its API: what a library costs at least.  Containers come from the command."""

    name = DOCKER_API
    mode = "raw unix socket: create on a kept connection, start on a new one; the exit code is not asked for"

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, list[_EngineConnection]] = {}

    def run(self, container: str, code: str) -> str:
        body = {"Cmd": [PYTHON3, "-c", code], "AttachStdout": True, "AttachStderr": True}
        spare = self._kept.setdefault(container, [])
        connection = spare.pop() if spare else _EngineConnection()
        made = json.loads(_call(connection, f"/containers/{container}/exec", body))
        spare.append(connection)
        starting = _EngineConnection()
        try:
            stream = _call(starting, f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False})
        finally:
            starting.close()
        return standard_output(stream)

    def close(self) -> None:
        for connections in self._kept.values():
            for connection in connections:
                connection.close()
        self._kept.clear()
        super().close()


def _call(connection: _EngineConnection, path: str, body: object) -> bytes:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    payload = answer.read()
    if answer.status >= 400:
        raise RuntimeError(payload.decode())
    return payload


def standard_output(stream: bytes) -> str:
    """Of frames: a byte for the stream, three of nothing, four of length, the data."""
    pieces = []
    at = 0
    while at + 8 <= len(stream):
        length = int.from_bytes(stream[at + 4 : at + 8], "big")
        if stream[at] == 1:
            pieces.append(stream[at + 8 : at + 8 + length])
        at += 8 + length
    return b"".join(pieces).decode()
