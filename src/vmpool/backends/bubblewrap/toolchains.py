"""Which languages the host's own toolchains can run, and where those that lie outside /usr are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmpool.domain.language import LANGUAGES, Language

SYSTEM_BIN = tuple(Path(p) for p in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"))
MOUNT_NAMES = {"python": "python", "nodejs": "node", "java": "java", "go": "go", "rust": "rust"}
"""Language to its directory below /opt in a VM (`VM_PATH` names the same)."""
MANAGERS = {"nodejs": ("npm",), "rust": ("cargo",)}
"""What installs a language's packages: a toolchain that has it goes before the system's that has not."""


@dataclass(frozen=True, slots=True, order=True)
class Toolchain:
    """A prefix outside /usr: `source` on the host is /opt/`name` in every VM."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Toolchains:
    """languages: names of those that can run.  prefixes: what has to be mounted for them."""

    languages: tuple[str, ...]
    prefixes: tuple[Toolchain, ...]


def _in_system(program: str) -> bool:
    return any(os.access(directory / program, os.X_OK) for directory in SYSTEM_BIN)


def _asked(*command: str) -> str | None:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _candidates(language: Language) -> Iterator[Path]:
    """Prefixes that may hold the language's programs, the best first."""
    if language.name == "python":
        # A libpython found by an absolute path would not be found under another prefix.
        if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
            yield Path(sys.base_prefix).resolve()
        return
    found = shutil.which(language.toolchain[0]) or shutil.which(
        language.toolchain[0], path=str(Path.home() / ".cargo/bin")
    )
    if found is None:
        return
    if language.name == "rust":  # rustup's shim knows where the real one is
        sysroot = _asked(found, "--print", "sysroot")
        if sysroot is not None:
            yield Path(sysroot).resolve()
    elif language.name == "go":
        root = _asked(found, "env", "GOROOT")
        if root is not None:
            yield Path(root).resolve()
    yield Path(found).resolve().parent.parent


def _holds(prefix: Path, programs: tuple[str, ...]) -> bool:
    return os.access(prefix, os.R_OK | os.X_OK) and all(
        os.access(prefix / "bin" / program, os.X_OK) for program in programs
    )


def _outside(prefix: Path) -> bool:
    return not prefix.is_relative_to("/usr") and prefix != Path("/")


def _own(language: Language, besides: tuple[str, ...]) -> Path | None:
    """The best prefix outside the system that has the language, and these programs besides."""
    programs = (*language.toolchain, *besides)
    return next((p for p in _candidates(language) if _outside(p) and _holds(p, programs)), None)


def discover() -> Toolchains:
    """Look at the host; takes a tenth of a second where rustup is asked."""
    languages: list[str] = []
    prefixes: list[Toolchain] = []
    for language in LANGUAGES.values():
        mount = MOUNT_NAMES.get(language.name)
        # The interpreter that runs the server is the one its user chose; others yield to the system's.
        system = all(map(_in_system, language.toolchain))
        managers = MANAGERS.get(language.name, ())
        whole = system and all(map(_in_system, managers)) and language.name != "python"
        prefix = None if mount is None or whole else _own(language, () if not system else managers)
        if prefix is not None and mount is not None:
            prefixes.append(Toolchain(mount, str(prefix)))
        if prefix is not None or system:
            languages.append(language.name)
    return Toolchains(tuple(languages), tuple(sorted(prefixes)))
