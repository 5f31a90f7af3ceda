"""Finding the server: the one that the environment names, else this machine's own, started if need be.

A running local server writes `<state_dir>/server.json` ({"url", "pid", "certificate"}) and keeps its owner's
key in `<state_dir>/owner.key`, which only its owner can read.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vmpool.client.errors import NoServer

URL_VARIABLE, KEY_VARIABLE, CA_VARIABLE = "VMPOOL_URL", "VMPOOL_API_KEY", "VMPOOL_CA"
STATE_VARIABLE = "VMPOOL_STATE_DIR"
HOST_VARIABLE, PORT_VARIABLE = "VMPOOL_LISTEN__HOST", "VMPOOL_LISTEN__PORT"
AUTOSTART_VARIABLE = "VMPOOL_AUTOSTART"
"""Set to 0 to have no server started: then a missing one is an error."""
DEFAULT_PORT = 8321
START_SECONDS = 60.0
"""How long a server may take until it answers: the first start makes the database and looks at the host."""
STOP_SECONDS = 30.0
"""How long a server may take to end: requests in progress are given time."""
SERVER_COMMAND = (sys.executable, "-m", "vmpool.app")
_NEEDED = ("fastapi", "uvicorn", "sqlalchemy", "pydantic_settings")
_TAIL_LINES = 20


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is, and the key to send it.

    ca: a PEM file of the only certificates it may be certified by.  certificate: the one that this machine's
    own server says it shows.
    """

    url: str
    api_key: str | None
    ca: str | None = None
    certificate: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.url).hostname or ""
        return host in {"localhost", "::1"} or host.startswith("127.")

    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


Locate = Callable[[], Address]


def locator(url: str | None, api_key: str | None, ca: str | Path | None = None) -> Locate:
    """What finds the server for a client that was given these; it may start one, so it may take a while."""
    return lambda: find(url, api_key, ca)


def find(url: str | None = None, api_key: str | None = None, ca: str | Path | None = None) -> Address:
    """The given server, else the environment's, else this machine's own, else a new one on this machine.

    NoServer where none is there and none can be started.
    """
    url = url or os.environ.get(URL_VARIABLE)
    api_key = api_key or os.environ.get(KEY_VARIABLE)
    authority = str(ca or os.environ.get(CA_VARIABLE) or "") or None
    if url:
        return Address(url.rstrip("/"), api_key, authority)
    state_dir = default_state_dir()
    found = running(state_dir)
    if found is None:
        if os.environ.get(AUTOSTART_VARIABLE) == "0":
            raise NoServer(f"no server is running; start one with 'vm serve', or set {URL_VARIABLE}")
        require_server()
        print("no vmpool server is running: starting one", file=sys.stderr)  # noqa: T201 (must be seen)
        found = start(state_dir)
    return Address(found.url, api_key or found.api_key, authority, found.certificate)


def default_state_dir() -> Path:
    """Where this machine's own server keeps its state."""
    named = os.environ.get(STATE_VARIABLE)
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/lib/vmpool")
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    # The XDG specification: a relative path counts as none.
    return (home if home.is_absolute() else Path.home() / ".local" / "state") / "vmpool"


def running(state_dir: Path) -> Address | None:
    """The server that runs on this state directory, if one accepts connections there."""
    try:
        said = json.loads((state_dir / "server.json").read_text())
        url, certificate = str(said["url"]), said.get("certificate")
        api_key = (state_dir / "owner.key").read_text().strip()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, stopped, just being written
        return None
    return Address(url, api_key, certificate=certificate) if _accepts(url) else None


def server_pid(state_dir: Path) -> int | None:
    """The process id that the server on this state directory noted down."""
    try:
        return int(json.loads((state_dir / "server.json").read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def start(state_dir: Path, options: dict[str, str] | None = None) -> Address:
    """Start a server of its own session on this state directory and wait until it answers.

    options: variables (`VMPOOL_*`) for it, beside this process's.  Two callers at once start one server.
    NoServer, with the end of its log, where it does not come up.
    """
    require_server()
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(state_dir / "start.lock"):
            found = running(state_dir)
            return found or _start(state_dir, options or {})
    except OSError as error:
        raise NoServer(f"cannot start a server in {state_dir}: {error}") from error


def require_server() -> None:
    """NoServer where only the client is installed."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise NoServer(
            "this machine has no vmpool server; install one with: pip install 'vmpool[server]', "
            f"or set {URL_VARIABLE} and {KEY_VARIABLE} to use another machine's"
        )


def stop(state_dir: Path) -> bool:
    """End the server that runs on this state directory, and wait for it; False where none runs.

    Its VMs stay, and the next server finds them.  NoServer where it does not end.
    """
    pid = server_pid(state_dir)
    if pid is None or running(state_dir) is None:
        return False
    # A descriptor of the process, so that a number given to another process meanwhile is not signalled.
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], STOP_SECONDS)
    except PermissionError as error:
        raise NoServer(f"the server (process {pid}) belongs to another user") from error
    finally:
        os.close(process)
    if not ended:
        raise NoServer(f"the server (process {pid}) has not ended after {STOP_SECONDS:g} s")
    return True


def _start(state_dir: Path, options: dict[str, str]) -> Address:
    log = state_dir / "server.log"
    before = log.stat().st_size if log.exists() else 0
    environment = {**os.environ, STATE_VARIABLE: str(state_dir), **options}
    if not _is_free(DEFAULT_PORT):
        environment.setdefault(PORT_VARIABLE, "0")
    command = shlex.join(SERVER_COMMAND)
    # The shell between ends at once, so that the server is nobody's child and stays when we go.
    launched = subprocess.run(
        ["/bin/sh", "-c", f"{command} </dev/null >>{shlex.quote(str(log))} 2>&1 & echo $!"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    if launched.returncode != 0:
        raise NoServer(f"the server could not be started: {launched.stderr.strip()}")
    pid = int(launched.stdout)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = running(state_dir)
        if found is not None:
            return found
        if not _alive(pid):
            raise NoServer(f"the server did not start; the end of {log}:\n{_tail(log, before)}")
        time.sleep(0.02)
    raise NoServer(f"the server (process {pid}) does not answer; the end of {log}:\n{_tail(log, before)}")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_free(port: int) -> bool:
    """Whether nothing listens on this port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _accepts(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=2.0):
            return True
    except OSError:
        return False


def _alive(pid: int) -> bool:
    try:
        # The state follows the command's name, which is in parentheses and may hold anything.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


def _tail(log: Path, since: int) -> str:
    """The last lines written after the first `since` bytes."""
    try:
        lines = log.read_bytes()[since:].decode(errors="replace").splitlines()
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:]) or "  (empty)"
