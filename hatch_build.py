"""Build hook: compiles the guest agent and the launcher, so that wheels and editable installs carry them.

A system compiler is used where there is one; elsewhere the build asks for the `ziglang` package, whose
`zig cc` makes the same static binaries.  `VMPOOL_SKIP_AGENT=1` skips it, for a tree that already has them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MACHINES = ("x86_64", "aarch64")


class AgentBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs `make -C agent` and tags the wheel with what it carries."""

    def dependencies(self) -> list[str]:
        """`ziglang` where no C compiler is at hand: it is 100 MB, so only then."""
        return [] if _has_compiler() or _skip() else ["ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the files are collected."""
        if self.target_name == "sdist":
            return
        root = Path(self.root)
        binaries = root / "src" / "vmpool" / "bin"
        if not _skip():
            # zig is started as a module of the interpreter that runs this hook.
            environment = {**os.environ, "PYTHON": sys.executable}
            make = shutil.which("make")
            if make is None:
                raise RuntimeError("make is missing; on Debian and Ubuntu: apt install make")
            jobs = f"-j{os.cpu_count() or 1}"  # zig makes its C library first, for each target
            subprocess.run([make, jobs, "-C", str(root / "agent"), "WERROR="], check=True, env=environment)
        carried = [machine for machine in MACHINES if (binaries / f"vmpool-agent-{machine}").is_file()]
        if not carried:
            raise RuntimeError(f"no agent was built into {binaries}; see agent/Makefile")
        if version == "standard" and len(carried) < len(MACHINES):
            # With both machines' binaries the wheel fits everywhere (the SDK needs no Linux).
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-linux_{carried[0]}"


def _skip() -> bool:
    return os.environ.get("VMPOOL_SKIP_AGENT") == "1"


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in ("musl-gcc", "cc", "gcc", "clang"))
