"""Other people's projects and what their tests need, fetched once by pip and kept in the user's cache.

They are named by a hash of what they were made from, so that a cache is never stale.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
"""Of the suites; made by `make real-work` from requirements.in, and likewise the charts'."""
CHARTS = HERE / "charts.txt"
BACKENDS = ("flit-core", "hatchling", "hatch-vcs", "hatch-fancy-pypi-readme", "poetry-core", "setuptools")
"""What the projects are built with: pip asks it for a project's name before it keeps its archive."""


@dataclass(frozen=True)
class Supplies:
    """wheels: a directory for `pip install --find-links`.  sources: one with the projects, unpacked."""

    wheels: Path
    sources: Path

    def project(self, name: str) -> Path:
        """The directory of a project as its authors released it."""
        (found,) = self.sources.glob(f"{name.replace('-', '_')}-*/")
        return found


def supplies(projects: tuple[str, ...], python: str) -> Supplies:
    """projects: as `name==version`.  python: the version of the VMs' interpreter, as in `3.11`.

    Raises CalledProcessError where pip cannot fetch them.
    """
    home = _kept("suites", python, *projects, REQUIREMENTS.read_text())
    found = Supplies(home / "wheels", home / "sources")
    if not (home / "complete").exists():
        _fetch_wheels(found.wheels, python, REQUIREMENTS)
        _fetch_sources(home, found, projects)
        (home / "complete").touch()
    return found


def charts(python: str) -> Path:
    """A directory with the wheels of matplotlib.  Raises CalledProcessError."""
    home = _kept("charts", python, CHARTS.read_text())
    if not (home / "complete").exists():
        _fetch_wheels(home / "wheels", python, CHARTS)
        (home / "complete").touch()
    return home / "wheels"


def _kept(name: str, *made_of: str) -> Path:
    """The directory of the cache for what is made of this; empty unless it is complete."""
    digest = hashlib.sha256("\n".join([sys.version, *made_of]).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmpool-tests"
    home = cache / f"{name}-{digest[:12]}"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
    return home


def _fetch_wheels(wheels: Path, python: str, requirements: Path) -> None:
    only = ("--only-binary=:all:", "--no-deps", "--python-version", python)
    _pip("download", *only, "--dest", wheels, "--requirement", requirements)


def _fetch_sources(home: Path, found: Supplies, projects: tuple[str, ...]) -> None:
    builders, archives = home / "builders", home / "archives"
    _pip("install", "--target", builders, "--constraint", REQUIREMENTS, *BACKENDS)
    arguments = ("download", "--no-deps", "--no-binary=:all:", "--no-build-isolation", "--dest", archives)
    _pip(*arguments, *projects, path=builders)
    found.sources.mkdir()
    for archive in archives.iterdir():
        subprocess.run(["tar", "-xf", archive, "-C", found.sources], check=True, timeout=60)


def _pip(*arguments: str | Path, path: Path | None = None) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments], env=environment, check=True, timeout=300
    )
