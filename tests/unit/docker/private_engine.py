"""An engine of a test's own, in namespaces of its own, that may be ended and started again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from vmpool.backends.disks import system_program

START_SECONDS = 60
PREPARE = """
if mountpoint -q /sys/fs/cgroup/memory && mountpoint -q /sys/fs/cgroup/unified; then
    umount /sys/fs/cgroup/unified
fi
"""
"""crun refuses a host with both versions' hierarchies; scripts/docker-engine does the same."""


@dataclass(slots=True)
class PrivateEngine:
    """driver: how it stores layers.  image: a file with a file system to keep them on, or None."""

    directory: Path
    driver: str
    image: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def host(self) -> str:
        """Its address."""
        return f"unix://{self.directory}/docker.sock"

    def start(self) -> None:
        """Returns once it answers."""
        root = self.directory / "root"
        root.mkdir(exist_ok=True)
        config = self.directory / "daemon.json"
        config.write_text(
            json.dumps(
                {
                    "data-root": str(root),
                    "exec-root": str(self.directory / "exec"),
                    "pidfile": str(self.directory / "pid"),
                    "storage-driver": self.driver,
                    "bridge": "none",
                    "iptables": False,
                    "hosts": [self.host],
                }
            )
        )
        mount = f"mount -o loop '{self.image}' '{root}'" if self.image is not None else ""
        script = f"set -e\nip link set lo up\n{mount}\n{PREPARE}\nexec dockerd --config-file '{config}'"
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "--mount", "sh", "-c", script], stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while self.docker("version", check=False).returncode != 0:
            assert self._process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def stop(self) -> None:
        """It ends, and its containers with it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.directory / "log").read_text(errors="replace")[-2000:]

    def docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """The docker command with this engine."""
        return subprocess.run(["docker", "--host", self.host, *words], capture_output=True, check=check)

    def load(self, image: str) -> None:
        """Give it an image that the host's engine has."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "--host", self.host, "load"], stdin=saved.stdout, capture_output=True, check=True
            )


def why_missing(driver: str) -> str | None:
    """Why there can be no such engine here; None where there can."""
    if os.geteuid() != 0:
        return "only root starts an engine"
    if shutil.which("dockerd") is None:
        return "there is no dockerd"
    if driver == "btrfs" and system_program("mkfs.btrfs") is None:
        return "there is no mkfs.btrfs"
    return None


@contextmanager
def private_engine(driver: str, image: str) -> Iterator[PrivateEngine]:
    """Running, with a template's image; nothing of it is left.  Blocks."""
    with TemporaryDirectory(prefix="vmpool-engine-") as directory:
        engine = PrivateEngine(Path(directory), driver)
        if driver == "btrfs":
            engine.image = Path(directory, "btrfs")
            with engine.image.open("wb") as file:
                file.truncate(4 << 30)
            subprocess.run([system_program("mkfs.btrfs") or "", "--quiet", engine.image], check=True)
        try:
            engine.start()
            engine.load(image)
            yield engine
        finally:
            engine.stop()
