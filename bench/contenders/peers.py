"""Other people's sandboxes, each in a worker process of its own that may hang or die."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from bench import peer_environment
from bench.contenders.base import Creates, Loads, Prints
from bench.contenders.names import SWE_REX
from bench.figures import Figures

_CHECKOUT = Path(__file__).parent.parent.parent
LIMITS = {
    "version": 30.0,
    "prepare": 120.0,
    "execute": 30.0,
    "create": 60.0,
    "remove": 30.0,
    "burst": 60.0,
    "output": 60.0,
}
"""Seconds a command may take before the worker is ended and the command has failed."""


KNOWN = (
    ("llm-sandbox, docker", "llm-sandbox-docker", "no environment set-up"),
    ("llm-sandbox, pool", "llm-sandbox-pool", "containers made beforehand, no environment set-up"),
    ("llm-sandbox, bubblewrap", "llm-sandbox-bubblewrap", "no environment set-up"),
    ("autogen-ext, docker", "autogen", "a different comment in each program"),
    (SWE_REX, "swe-rex", "execute, not sessions; ready sandboxes are made one after another"),
    ("smolagents, docker", "smolagents", "one Jupyter kernel a sandbox: state stays between programs"),
)
"""Name, the worker's key, and the mode."""


class PeerFailed(Exception):
    """The peer raised, died, or took too long."""


class Peer(Loads, Creates, Prints):
    """A peer behind its worker.

    Containers are made from an image with a label of this run, so that whatever a peer leaves is found.
    """

    every = 10
    settle = 0.05
    largest_burst = 10

    def __init__(self, name: str, key: str, interpreter: Path, image: str, mode: str) -> None:
        self.name = name
        self.mode = mode
        self.divisor = name == SWE_REX
        self.warm = key == "llm-sandbox-pool"
        self._key = key
        self._interpreter = interpreter
        self._label = f"vmpool.bench.peer={os.getpid()}-{key}"
        self._image: str | None = peer_environment.labelled(image, self._label)
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = 0
        self.version = str(self._ask("version"))

    def prepare(self, sandboxes: int) -> None:
        self._ask("prepare", sandboxes=sandboxes)
        self._prepared = sandboxes

    def execute(self, sandbox: int) -> float:
        return float(self._ask("execute", sandbox=sandbox))

    def create(self) -> tuple[float, str]:
        seconds, sandbox = self._ask("create")
        return seconds, sandbox

    def remove(self, sandbox: str) -> float:
        return float(self._ask("remove", sandbox=sandbox))

    def burst(self, count: int) -> Figures:
        figures: Figures = self._ask("burst", count=count)
        return figures

    def load(self, in_flight: int, seconds: float) -> Figures:
        figures: Figures = self._ask("load", seconds + 60.0, in_flight=in_flight, seconds=seconds)
        return figures

    def output(self, size: int) -> Figures:
        figures: Figures = self._ask("output", size=size)
        return figures

    def release(self) -> None:
        self._end()
        self._prepared = 0

    def close(self) -> None:
        self._end()
        if self._image is not None:
            peer_environment.drop_image(self._image)
            self._image = None

    def _ask(self, command: str, limit: float | None = None, **arguments: object) -> Any:
        """One command; a worker that does not answer in time is ended with all it made, and made anew."""
        process = self._worker(command)
        line = json.dumps({"do": command, **arguments}) + "\n"
        try:
            if process.stdin is None or process.stdout is None:
                raise PeerFailed("no pipe")
            process.stdin.write(line.encode())
            answer = _read_line(process.stdout.fileno(), limit or LIMITS[command])
        except (OSError, TimeoutError) as error:
            self._end()
            raise PeerFailed(f"{self.name}: {command}: {error}") from error
        decoded = json.loads(answer)
        if "error" in decoded:
            raise PeerFailed(f"{self.name}: {command}: {decoded['error']}")
        return decoded["result"]

    def _worker(self, command: str) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            environment = {**os.environ, "PYTHONPATH": str(_CHECKOUT), "HF_HUB_OFFLINE": "1"}
            self._process = subprocess.Popen(
                [str(self._interpreter), "-m", "bench.peer_worker", self._key, self._image or ""],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
            prepared, self._prepared = self._prepared, 0
            if prepared and command != "prepare":
                self.prepare(prepared)
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            _kill_tree(self._process)
            self._process = None
        peer_environment.sweep(self._label)


def _read_line(fd: int, seconds: float) -> bytes:
    deadline = time.monotonic() + seconds
    buffer = b""
    while not buffer.endswith(b"\n"):
        readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            raise TimeoutError(f"no answer within {seconds:g} s")
        data = os.read(fd, 1 << 20)
        if not data:
            raise OSError("the worker died")
        buffer += data
    return buffer


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """The worker and all below it, the leaves too."""
    try:
        found = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        found = []
    process.kill()
    process.wait()
    for child in found:
        if child.is_running():
            child.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
