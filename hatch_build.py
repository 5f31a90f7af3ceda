"""Build hook: compiles the guest agent and the launcher, so that wheels and editable installs carry them.

For wheels it builds the dashboard too.

A system compiler is used where there is one; elsewhere the build asks for the `ziglang` package, whose
`zig cc` makes the same static binaries.  `VMPOOL_SKIP_AGENT=1` skips it, for a tree that already has them.

The dashboard needs npm.  A wheel built without it has none, which is said then, and by its server at `/`.
`VMPOOL_SKIP_WEB=1` takes what `make web` made before, if anything.
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
        if version == "standard":
            self._build_dashboard(root)
        carried = [machine for machine in MACHINES if (binaries / f"vmpool-agent-{machine}").is_file()]
        if not carried:
            raise RuntimeError(f"no agent was built into {binaries}; see agent/Makefile")
        if version == "standard" and len(carried) < len(MACHINES):
            # With both machines' binaries the wheel fits everywhere (the SDK needs no Linux).
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-linux_{carried[0]}"

    def _build_dashboard(self, root: Path) -> None:
        make, npm = shutil.which("make"), shutil.which("npm")
        if os.environ.get("VMPOOL_SKIP_WEB") == "1":
            return
        if make is None or npm is None or not (root / "web").is_dir():
            self.app.display_warning("no dashboard in this wheel: npm is missing (Node.js 20 or newer)")
            return
        try:
            subprocess.run([make, "-C", str(root), "--no-print-directory", "web"], check=True)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(
                "the dashboard could not be built; VMPOOL_SKIP_WEB=1 leaves it out of the wheel"
            ) from error


def _skip() -> bool:
    return os.environ.get("VMPOOL_SKIP_AGENT") == "1"


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in ("musl-gcc", "cc", "gcc", "clang"))
