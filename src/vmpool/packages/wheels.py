"""Which wheels an interpreter could never install, by their names (PEP 425, 600).  Pure.

Half the time of `pip install` goes by looking through the pages of projects that build a wheel for everything
there is.  pip says in each request what it runs on; what it would pass over need not be sent.  Where a name
or a platform is not one of those known here, it stays: pip looks itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_VERSION = re.compile(r"3\.([0-9]{1,2})(?:[.a-z].*)?")
_CPU = re.compile(r"[a-z0-9_]{1,20}")
_CPYTHON = re.compile(r"cp3([0-9]{1,2})")
_OTHERS = re.compile(r"cp2[0-9]*|pp[0-9]+|jy[0-9]+|ip[0-9]+|graalpy[0-9]+|py2[0-9]?")
_PYTHON = re.compile(r"py3([0-9]{1,2})")
_NARROW = {"x86_64": ("i686", "i386"), "aarch64": ("armv6l", "armv7l", "armv8l")}
"""What a 32-bit interpreter on such a kernel installs."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython 3 on Linux with glibc.  minor: of its version.  cpu: the kernel's."""

    minor: int
    cpu: str

    @classmethod
    def of(cls, user_agent: str) -> Interpreter | None:
        """What pip says of itself; None for anything else and for any other interpreter."""
        program, _, said = user_agent.partition(" ")
        if not program.startswith("pip/"):
            return None
        try:
            about = json.loads(said)
            version, cpu = _VERSION.fullmatch(about["python"]), _CPU.fullmatch(about["cpu"])
            known = (
                about["implementation"]["name"] == "CPython"
                and about["system"]["name"] == "Linux"
                and about["distro"]["libc"]["lib"] == "glibc"
            )
        except (ValueError, KeyError, TypeError):
            return None
        if version is None or cpu is None or not known:
            return None
        return cls(int(version[1]), cpu[0])

    def may_install(self, file: str) -> bool:
        """False for a file that it passes over in any case."""
        if file.endswith((".egg", ".exe", ".msi", ".rpm", ".dmg")):
            return False
        tags = file.removesuffix(".whl").split("-")
        if not file.endswith(".whl") or len(tags) < 5:
            return True
        pythons, abis, platforms = (part.split(".") for part in tags[-3:])
        return any(self._runs(python, abis) for python in pythons) and any(map(self._loads, platforms))

    def _runs(self, python: str, abis: list[str]) -> bool:
        own = _CPYTHON.fullmatch(python)
        if own is not None:
            minor = int(own[1])
            return minor == self.minor or (minor < self.minor and "abi3" in abis)
        newer = _PYTHON.fullmatch(python)
        if newer is not None:
            return int(newer[1]) <= self.minor
        return _OTHERS.fullmatch(python) is None

    def _loads(self, platform: str) -> bool:
        if platform.startswith(("win", "macosx_", "musllinux_", "ios_", "android_")):
            return False
        if platform.startswith(("linux_", "manylinux")):
            return platform.endswith(tuple(f"_{cpu}" for cpu in (self.cpu, *_NARROW.get(self.cpu, ()))))
        return True
