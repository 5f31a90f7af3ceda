"""`vm doctor` on this very host: it tries what it says, needs no server, and leaves nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests import docker_engine

from .conftest import Site, site_in

ENGINE = "unix:///nonexistent/engine.sock"


def ways(report: Any) -> dict[str, Any]:
    return {way["name"]: way for way in report["ways"]}


def test_this_host(tmp_path: Path) -> None:
    site = site_in(tmp_path / "state")
    site.state_dir.mkdir()
    ran = site.vm("doctor", "--json")
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["usable"]
    found = ways(report)
    grade = "bubblewrap, full root" if os.geteuid() == 0 else "bubblewrap, user"
    assert found[grade]["answer"] == "yes"
    if os.geteuid() == 0:
        assert {limit["answer"] for limit in found[grade]["limits"]} == {"yes"}
    else:
        assert found["bubblewrap, full root"]["answer"] == "no"
        assert "as root" in found["bubblewrap, full root"]["remedy"]
    if docker_engine.why_missing() is None:
        container = next(way for way in report["ways"] if way["isolation"] == "container")
        assert container["answer"] == "yes", container
    assert list(site.state_dir.iterdir()) == []  # no server, no trial's remains


def test_a_host_without_an_engine(tmp_path: Path) -> None:
    site = site_in(tmp_path / "state")
    ran = site.vm("doctor", DOCKER_HOST=ENGINE)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert any(line.startswith("Docker engine") and " no " in line for line in lines)
    assert "systemctl start docker" in ran.stdout
    assert lines[-1].startswith("VMs can be run here")


def test_a_host_that_can_do_nothing(tmp_path: Path) -> None:
    """No engine, and a bubblewrap that is none: it says what to do and fails."""
    site: Site = site_in(tmp_path / "state")
    broken = {"DOCKER_HOST": ENGINE, "VMPOOL_BUBBLEWRAP__PROGRAM": "/bin/false"}
    ran = site.vm("doctor", **broken)
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1] == "VMs cannot be run here."
    assert "What would make it better" in ran.stdout
    assert not json.loads(site.vm("doctor", "--json", **broken).stdout)["usable"]
