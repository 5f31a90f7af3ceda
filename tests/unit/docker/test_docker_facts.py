"""Reading the engine's answers: pure functions of its JSON and of the kernel's text."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import aiohttp
import pytest
from aiodocker.exceptions import DockerError

from vmpool.backends.base import Machine, MachineKey, MachineState, Usage
from vmpool.backends.docker import DockerBackend
from vmpool.backends.docker.engine import engine_facts, engine_host, machine_of
from vmpool.backends.docker.errors import docker_errors
from vmpool.backends.docker.local import Init, NoSocket, NotLocal, _walked, cgroup_paths, dial_local
from vmpool.backends.docker.machines import (
    init_of,
    layer_size,
    machine_from_inspection,
    machine_from_listing,
    state_of,
    usage_from_stats,
)
from vmpool.backends.docker.storage import Storage, layer_of, storage_of
from vmpool.errors import BackendFailed, BackendUnreachable, IsolationUnavailable, VMPoolError

INFO = {
    "ServerVersion": "20.10.24",
    "Architecture": "x86_64",
    "Runtimes": {"runc": {}, "runsc": {}},
    "DefaultRuntime": "runc",
    "CgroupVersion": "2",
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
}
ENGINE = engine_facts(INFO, None)
DISK_WARNING = "disk: the limit holds for each file, not for their sum; the engine's storage is shared."


def test_what_an_engine_says() -> None:
    assert (ENGINE.version, ENGINE.runtime, ENGINE.isolation, ENGINE.runtimes) == (
        "20.10.24",
        "runc",
        "container",
        ("runc", "runsc"),
    )
    assert ENGINE.enforcement() == {
        "cpu": "cgroup v2, CFS quota",
        "memory": "cgroup v2",
        "disk": "RLIMIT_FSIZE per file",
        "processes": "cgroup v2",
        "network": "network namespace",
    }
    assert ENGINE.warnings() == (DISK_WARNING,)
    assert ENGINE.running({"vmpool.disk": "image"}).warnings() == ()


def test_a_limit_the_host_cannot_hold_is_said() -> None:
    engine = engine_facts({**INFO, "MemoryLimit": False, "PidsLimit": False}, None)
    assert engine.enforcement()["memory"] == engine.enforcement()["processes"] == "nothing"
    assert [warning.partition(":")[0] for warning in engine.warnings()] == [
        "disk",
        "memory",
        "processes",
    ]


def test_a_runtime_the_engine_lacks_is_refused_with_a_remedy() -> None:
    with pytest.raises(BackendFailed, match=r"no runtime 'kata' \(it has runc, runsc\).*daemon.json"):
        engine_facts(INFO, "kata")


def test_the_walls_an_engine_offers() -> None:
    engine = engine_facts({**INFO, "Runtimes": {"crun": {}, "kata-qemu": {}, "runc": {}, "runsc": {}}}, None)
    assert engine.isolations == ("container", "microvm", "gvisor")
    assert engine.offering("") is engine.offering("container") is engine
    assert engine.offering("gvisor").runtime == "runsc"
    assert engine.offering("microvm").runtime == "kata-qemu"
    assert engine.offering("gvisor").warnings() != engine.warnings()
    with pytest.raises(IsolationUnavailable, match="offers container, gvisor, not 'microvm'"):
        ENGINE.offering("microvm")


def test_a_container_keeps_the_runtime_it_was_made_with() -> None:
    """Whatever the server's setting says by now."""
    later = engine_facts(INFO, "runsc")
    labels = {"vmpool.runtime": "runc"}
    facts = {"Id": "abc", "State": {"Status": "running", "Pid": 12}, "Config": {"Labels": labels}}
    assert machine_from_inspection(MachineKey(1), facts, later).isolation == "container"
    entry = {"Id": "abc", "State": "running", "Names": ["/vmpool-p1-vm-1-1"], "Labels": labels}
    found = machine_from_listing(entry, "p1", later)
    assert found is not None
    assert found.isolation == "container"


@pytest.mark.parametrize(("said", "meant"), [("x86_64", "x86_64"), ("arm64", "aarch64"), ("amd64", "x86_64")])
def test_processors(said: str, meant: str) -> None:
    assert machine_of({"Architecture": said}) == meant


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("created", MachineState.CREATING),
        ("running", MachineState.RUNNING),
        ("Running", MachineState.RUNNING),
        ("paused", MachineState.PAUSED),
        ("exited", MachineState.STOPPED),
        ("dead", MachineState.STOPPED),
        ("stopped", MachineState.STOPPED),
    ],
)
def test_states(word: str, state: MachineState) -> None:
    assert state_of(word) is state


def test_a_machine_from_either_answer() -> None:
    key = MachineKey(3, 4)
    machine = Machine(key, MachineState.RUNNING, "abc", "container", (DISK_WARNING,))
    facts = {"Id": "abc", "State": {"Status": "running", "Pid": 12}, "Config": {"Labels": None}}
    assert machine_from_inspection(key, facts, ENGINE) == machine
    entry = {"Id": "abc", "State": "running", "Names": ["/other", "/vmpool-p1-vm-3-4"]}
    assert machine_from_listing(entry, "p1", ENGINE) == machine
    assert init_of(facts) == Init(12, "abc")


@pytest.mark.parametrize("names", [None, [], ["/vmpool-p1-vm-x-1"], ["/vmpool-p2-vm-3-4"], ["/vm-3-4"]])
def test_a_stranger_with_our_label_is_no_machine(names: list[str] | None) -> None:
    assert machine_from_listing({"Id": "abc", "State": "running", "Names": names}, "p1", ENGINE) is None


def test_what_does_not_run_has_no_first_process() -> None:
    assert init_of({"Id": "abc", "State": {"Status": "exited", "Pid": 0}}) is None


def test_usage_from_the_engines_figures() -> None:
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "memory_stats": {"usage": 10, "max_usage": 20},
        "pids_stats": {"current": 3},
    }
    assert usage_from_stats(stats) == Usage(1.5, 10, 20, 3)
    assert usage_from_stats({}) == Usage()


def test_cgroups_of_both_versions() -> None:
    text = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/unified/abc\n"
    assert cgroup_paths(text) == {
        "memory": "/docker/abc",
        "cpu": "/docker/abc",
        "cpuacct": "/docker/abc",
        "": "/unified/abc",
    }


def test_no_link_is_followed_on_the_way_to_the_socket(tmp_path: Path) -> None:
    (tmp_path / "real" / "vmpool").mkdir(parents=True)
    (tmp_path / "run").symlink_to("real")
    root = os.open(tmp_path, os.O_PATH)
    try:
        with _walked(root, "/real/vmpool") as found:
            assert Path(f"/proc/self/fd/{found}").readlink() == tmp_path / "real" / "vmpool"
        with pytest.raises(NoSocket, match="Not a directory"), _walked(root, "/run/vmpool"):
            raise AssertionError("a link was followed")
    finally:
        os.close(root)


@pytest.mark.anyio
async def test_another_process_is_not_taken_for_the_containers() -> None:
    with pytest.raises(NotLocal, match="cgroup"):
        await dial_local(Init(os.getpid(), "0123456789abcdef"))


def test_the_engines_address(tmp_path: Path) -> None:
    assert engine_host({"DOCKER_HOST": "tcp://far:2376"}) == "tcp://far:2376"
    podman = tmp_path / "podman" / "podman.sock"
    podman.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(podman))
        found = engine_host({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert found in (f"unix://{podman}", "unix:///var/run/docker.sock")


@pytest.mark.parametrize(
    ("raised", "becomes", "text"),
    [
        (DockerError(900, "Cannot connect"), BackendUnreachable, "start Docker"),
        (DockerError(409, "name in use"), BackendFailed, "could not try: name in use"),
        (aiohttp.ClientOSError("cut"), BackendUnreachable, "lost while trying to try: cut"),
        (TimeoutError(), BackendUnreachable, "TimeoutError"),
    ],
)
def test_every_failure_of_the_engine_is_one_of_ours(
    raised: Exception, becomes: type[Exception], text: str
) -> None:
    with pytest.raises(becomes, match=text) as caught, docker_errors("try"):
        raise raised
    assert caught.value.__cause__ is raised


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["unix:///nonexistent/engine.sock", "tcp://127.0.0.1:1", "gopher://x"])
async def test_without_an_engine_the_backend_does_not_open_and_says_why(host: str, tmp_path: Path) -> None:
    with pytest.raises(VMPoolError, match="engine"):
        async with DockerBackend(tmp_path, pool_id="test", host=host):
            pass


@pytest.mark.parametrize(
    ("facts", "size"), [({"SizeRw": 0}, 0), ({"SizeRw": 5}, 5), ({"SizeRw": -1}, None), ({}, None)]
)
def test_the_layers_size(facts: dict[str, int], size: int | None) -> None:
    """The engine says -1 of a tree it cannot walk, such as one of very long paths."""
    assert layer_size(facts) == size


def test_what_holds_a_containers_disk_limit_is_in_its_label() -> None:
    assert storage_of({"vmpool.disk": "image"}) is Storage.IMAGE
    assert storage_of({"vmpool.disk": "files"}) is Storage.FILES
    for labels in (None, {}, {"vmpool.disk": "something newer"}):
        assert storage_of(labels) is Storage.FILES


def test_where_a_containers_layer_is() -> None:
    upper = {"UpperDir": "/var/lib/docker/overlay2/abc/diff", "WorkDir": "/var/lib/docker/overlay2/abc/work"}
    assert layer_of({"GraphDriver": {"Name": "overlay2", "Data": upper}}) == "/var/lib/docker/overlay2/abc"
    for driver in (
        None,
        {},
        {"Name": "btrfs", "Data": None},
        {"Name": "overlay", "Data": upper},
        {"Name": "overlay2", "Data": {"UpperDir": "/somewhere/else"}},
    ):
        assert layer_of({"GraphDriver": driver}) is None
