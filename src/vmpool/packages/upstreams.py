"""Which registries stand behind the server's own, where the operator names none: what the host's tools use.

A URL with a user or a password in it is passed over: VMs read through the server, and what one person may
read is not for all of them unless the operator says so.
"""

from __future__ import annotations

import configparser
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from vmpool.errors import InvalidRequest

logger = logging.getLogger(__name__)

_TOOL_SECONDS: Final = 20.0
_DEFAULTS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "pypi": (
        (sys.executable, "-m", "pip", "install", "--help"),
        r"Base URL of the Python Package Index\s+\(default\s+(https?://\S+?)\)",
    ),
    "npm": (("npm", "config", "get", "registry"), r"^(https?://\S+)$"),
    "gem": (("gem", "environment", "remotesources"), r"(https?://[^\s:]+)"),
}
"""What each tool says of its own default, and where in that it stands.  cargo has no such word."""


def upstream(setting: str, url: str) -> str:
    """The URL with a slash at its end; InvalidRequest where it is none of a registry."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidRequest(setting, "must be the http or https URL of a registry")
    return url.rstrip("/") + "/"


def configured(name: str, environ: Mapping[str, str], home: Path | None) -> str | None:
    """What the tool of a registry is configured with on this host, by the environment or its files."""
    match name:
        case "pypi":
            return next(_usable("pip", [environ.get("PIP_INDEX_URL"), *_in_files(environ, home)]), None)
        case "npm":
            named = environ.get("npm_config_registry") or environ.get("NPM_CONFIG_REGISTRY")
            return next(_usable("npm", [named, *_in_npmrc(home)]), None)
    return None


def default(name: str) -> str | None:
    """What the tool on this host asks by itself, in its own words; None where it is not there.  Blocks."""
    if name not in _DEFAULTS:
        return None
    command, pattern = _DEFAULTS[name]
    # Outside any project, and with nothing of the environment that may hold a password.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "LC_ALL": "C"}
    try:
        said = subprocess.run(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TOOL_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.info("%s cannot be asked for its registry: %s", command[0], error)
        return None
    found = re.search(pattern, said, re.MULTILINE)
    return None if found is None else upstream(name, found[1])


class Upstreams:
    """The URL of each registry that is offered.  named: those that are known; None: asked of the host's tool
    the first time it is wanted."""

    def __init__(self, named: Mapping[str, str | None]) -> None:
        self._named = dict(named)

    def __contains__(self, name: str) -> bool:
        return name in self._named

    async def url(self, name: str) -> str | None:
        """With a slash at its end; None where nobody names one."""
        if self._named[name] is None:
            self._named[name] = await anyio.to_thread.run_sync(default, name)
        return self._named[name]


def _in_npmrc(home: Path | None) -> Iterator[str | None]:
    files = [Path("/usr/local/etc/npmrc"), Path("/usr/etc/npmrc"), Path("/etc/npmrc")]
    for path in [*([home / ".npmrc"] if home is not None else []), *files]:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            logger.warning("npm's configuration %s cannot be read: %s", path, error)
            continue
        found = re.search(r"""^\s*registry\s*=\s*["']?([^"'\s;#]+)""", text, re.MULTILINE)
        yield found[1] if found else None


def _in_files(environ: Mapping[str, str], home: Path | None) -> Iterator[str | None]:
    files = [Path("/etc/pip.conf")]
    if home is not None:
        base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        files = [base / "pip" / "pip.conf", home / ".pip" / "pip.conf", *files]
    for path in (Path(environ["PIP_CONFIG_FILE"]), *files) if "PIP_CONFIG_FILE" in environ else files:
        found = configparser.RawConfigParser()
        try:
            found.read(path, encoding="utf-8")
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            logger.warning("pip's configuration %s cannot be read: %s", path, error)
            continue
        yield found.get("install", "index-url", fallback=found.get("global", "index-url", fallback=None))


def _usable(tool: str, found: list[str | None]) -> Iterator[str]:
    for url in found:
        if not url:
            continue
        parts = urlsplit(url)
        if parts.username or parts.password:
            logger.warning("the registry %s is configured with has a password: set it in packages", tool)
        elif parts.scheme in ("http", "https") and parts.hostname:
            yield upstream(tool, url)
