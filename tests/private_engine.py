"""A Docker engine of a test's own, which may be ended and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60.0
OWN_NAMESPACES = ("unshare", "--net", "--mount", "--propagation", "slave", "--")
"""An engine without a bridge removes `docker0` where it finds one; mounts made on the host still reach it."""


class PrivateEngine:
    """One in a network and mount namespace of its own, with its own data.  host: its URL."""

    def __init__(self, home: Path, *, live_restore: bool) -> None:
        self._home = home
        self.host = f"unix://{home / 'docker.sock'}"
        self._process: subprocess.Popen[bytes] | None = None
        config = {
            "data-root": str(home / "data"),
            "exec-root": str(home / "run"),
            "pidfile": str(home / "docker.pid"),
            "hosts": [self.host],
            "bridge": "none",
            "iptables": False,
            "live-restore": live_restore,
        }
        (home / "daemon.json").write_text(json.dumps(config))

    def start(self) -> None:
        """Returns once it answers."""
        for stale in (self._home / "docker.pid", self._home / "run" / "containerd" / "containerd.pid"):
            stale.unlink(missing_ok=True)  # of a dead process that nobody has reaped
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*OWN_NAMESPACES, "dockerd", "--config-file", str(self._home / "daemon.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while self.docker("version", check=False).returncode != 0:
            assert self._process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Returns once it is gone; its containerd goes with it."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(START_SECONDS)
        self._process = None

    def docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """The docker command against it."""
        return subprocess.run(["docker", "--host", self.host, *words], capture_output=True, check=check)

    def log(self) -> str:
        """The end of what it said."""
        return (self._home / "log").read_text()[-3000:]

    @property
    def runs(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None


@contextmanager
def private_engine(home: Path, image: str, *, live_restore: bool = False) -> Iterator[PrivateEngine]:
    """A running engine with this image of the shared one; nothing of it is left afterwards."""
    engine = PrivateEngine(home, live_restore=live_restore)
    try:
        engine.start()
        saved = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
        with saved:
            subprocess.run(
                ["docker", "--host", engine.host, "load", "--quiet"],
                stdin=saved.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
            )
        yield engine
    finally:
        if not engine.runs:
            engine.start()
        left = engine.docker("ps", "--all", "--quiet").stdout.decode().split()
        if left:
            engine.docker("rm", "--force", *left)
        engine.end()
        _unmount(home)


def _unmount(home: Path) -> None:
    """What the engine leaves mounted in its directories."""
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{home}{os.sep}")), reverse=True):
        subprocess.run(["umount", mount], check=True)
