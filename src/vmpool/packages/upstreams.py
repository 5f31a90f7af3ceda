"""Which registries stand behind the server's own, where the operator names none: what the host's tools use.

A URL with a user or a password in it is passed over: VMs read through the server, and what one person may
read is not for all of them unless the operator says so.
"""

from __future__ import annotations

import configparser
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vmpool.errors import InvalidRequest

logger = logging.getLogger(__name__)

PYPI: Final = "https://pypi.org/simple/"
"""pip's own default."""
NPM: Final = "https://registry.npmjs.org/"
"""npm's own default."""
CARGO: Final = "https://index.crates.io/"
"""cargo's own default."""
GEM: Final = "https://rubygems.org/"
"""gem's own default."""


def upstream(setting: str, url: str) -> str:
    """The URL with a slash at its end; InvalidRequest where it is none of a registry."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidRequest(setting, "must be the http or https URL of a registry")
    return url.rstrip("/") + "/"


def pypi(environ: Mapping[str, str], home: Path | None) -> str:
    """What `pip` on this host would ask: of the environment, of its files, else its default."""
    return next(_usable("pip", [environ.get("PIP_INDEX_URL"), *_in_files(environ, home)]), PYPI)


def npm(environ: Mapping[str, str], home: Path | None) -> str:
    """What `npm` on this host would ask: of the environment, of its files, else its default."""
    named = environ.get("npm_config_registry") or environ.get("NPM_CONFIG_REGISTRY")
    return next(_usable("npm", [named, *_in_npmrc(home)]), NPM)


def cargo(environ: Mapping[str, str], home: Path | None) -> str:
    """What `cargo` asks unless a project says otherwise."""
    return CARGO


def gem(environ: Mapping[str, str], home: Path | None) -> str:
    """What `gem` asks unless its user says otherwise."""
    return GEM


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
