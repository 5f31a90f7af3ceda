from __future__ import annotations

import pytest

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.docker.spec import (
    Placement,
    checked_pool_id,
    container_config,
    container_name,
    isolation_of,
    snapshot_image,
    spec_digest,
)
from vmpool.backends.docker.storage import Storage
from vmpool.domain import Limits
from vmpool.domain.language import VM_PATH
from vmpool.errors import InvalidRequest

KEY = MachineKey(7, 2)
PLACEMENT = Placement("p1", "vmpool-agent-p1-abc")


def test_a_container_is_described_in_full() -> None:
    spec = MachineSpec("box", "python", Limits(cpu=1.5, memory=256, disk=100, processes=64))
    assert container_config(KEY, spec, "sha256:image", "sha256:base", PLACEMENT) == {
        "Image": "sha256:image",
        "Hostname": "box",
        "User": "1000:1000",
        "WorkingDir": "/",
        "Entrypoint": ["/.vmpool/vmpool-agent", "--socket", "/run/vmpool/agent.sock"],
        "Cmd": [],
        "Env": [f"PATH={VM_PATH}"],
        "Tty": False,
        "OpenStdin": True,
        "NetworkDisabled": False,
        "StopSignal": "SIGKILL",
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {
            "vmpool.pool": "p1",
            "vmpool.key": "vm-7-2",
            "vmpool.spec": spec_digest(spec),
            "vmpool.template": "python",
            "vmpool.base": "sha256:base",
            "vmpool.runtime": "runc",
            "vmpool.disk": "files",
            "vmpool.disk-limit": "100",
        },
        "HostConfig": {
            "Init": False,
            "AutoRemove": False,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none"},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "NetworkMode": "none",
            "PublishAllPorts": False,
            "ReadonlyPaths": [
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
                "/sys/fs/cgroup",
            ],
            "NanoCpus": 1_500_000_000,
            "Memory": 268_435_456,
            "MemorySwap": 268_435_456,
            "PidsLimit": 64,
            "Ulimits": [
                {"Name": "nofile", "Soft": 1024, "Hard": 4096},
                {"Name": "core", "Soft": 1, "Hard": 1},
                {"Name": "fsize", "Soft": 104_857_600, "Hard": 104_857_600},
            ],
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "vmpool-agent-p1-abc",
                    "Target": "/.vmpool",
                    "ReadOnly": True,
                    "VolumeOptions": {"NoCopy": True},
                },
                {
                    "Type": "volume",
                    "Target": "/dev/pts",
                    "VolumeOptions": {
                        "NoCopy": True,
                        "Labels": {"vmpool.pool": "p1"},
                        "DriverConfig": {
                            "Name": "local",
                            "Options": {
                                "type": "devpts",
                                "device": "devpts",
                                "o": "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5,max=256",
                            },
                        },
                    },
                },
            ],
            "Sysctls": {"kernel.shmall": "16384", "net.ipv4.ip_unprivileged_port_start": "0"},
            "Tmpfs": {
                "/run/vmpool": "rw,noexec,nosuid,nodev,size=64k,mode=1777,nr_inodes=16,uid=1000,gid=1000",
                "/dev/shm": "rw,noexec,nosuid,nodev,size=64m,nr_inodes=4096,mode=1777",
            },
            "ReadonlyRootfs": False,
            "Dns": ["127.0.0.1"],
            "DnsSearch": ["."],
        },
    }


def test_podman_is_asked_for_what_it_can_give() -> None:
    placement = Placement("p1", "v", podman=True)
    host = container_config(KEY, MachineSpec("box", "go"), "i", "b", placement)["HostConfig"]
    assert host["Tmpfs"] == {"/run/vmpool": "rw,noexec,nosuid,nodev,size=64k,mode=1777"}
    assert host["Ulimits"][-1] == {"Name": "nproc", "Soft": 32768, "Hard": 32768}


@pytest.mark.parametrize(
    ("storage", "file_size", "read_only", "mounts"),
    [
        (Storage.IMAGE, False, False, {}),
        (Storage.FILES, True, False, {}),
        (Storage.QUOTA, True, False, {}),
        (
            Storage.MEMORY,
            True,
            True,
            {
                "/home/user": "rw,exec,nosuid,nodev,size=75m,nr_inodes=4800,mode=755,uid=1000,gid=1000",
                "/tmp": "rw,exec,nosuid,nodev,size=25m,nr_inodes=1600,mode=1777",
            },
        ),
    ],
)
def test_the_disk_is_held_in_the_storages_way(
    storage: Storage, file_size: bool, read_only: bool, mounts: dict[str, str]
) -> None:
    placement = Placement("p1", "v", storage=storage)
    spec = MachineSpec("box", "go", Limits(disk=100))
    config = container_config(KEY, spec, "i", "b", placement, image_size=1000)
    quota = {"StorageOpt": {"size": str(1000 + (100 << 20))}} if storage is Storage.QUOTA else {}
    assert config["HostConfig"].items() >= quota.items()
    assert ("StorageOpt" in config["HostConfig"]) is bool(quota)
    assert config["Labels"]["vmpool.disk"] == storage.value
    host = config["HostConfig"]
    assert ("fsize" in [limit["Name"] for limit in host["Ulimits"]]) is file_size
    assert host["ReadonlyRootfs"] is read_only
    always = {"/run/vmpool", "/dev/shm"}
    assert {where: options for where, options in host["Tmpfs"].items() if where not in always} == mounts


def test_a_runtime_is_named_only_when_chosen() -> None:
    config = container_config(
        KEY, MachineSpec("box", "go"), "i", "b", Placement("p1", "v", "runsc", "gvisor")
    )
    assert config["HostConfig"]["Runtime"] == "runsc"
    assert config["HostConfig"]["Sysctls"].keys() == {"net.ipv4.ip_unprivileged_port_start"}
    assert [mount["Target"] for mount in config["HostConfig"]["Mounts"]] == ["/.vmpool"]


def test_a_guest_kernel_gets_the_threads_it_needs() -> None:
    spec = MachineSpec("box", "go", Limits(processes=64))
    host = container_config(KEY, spec, "i", "b", Placement("p1", "v", "runsc", "gvisor"))["HostConfig"]
    assert host["PidsLimit"] == 8 * 64 + 1024


def test_full_network_is_the_engines_bridge_without_published_ports() -> None:
    host = container_config(KEY, MachineSpec("box", "go", network="full"), "i", "b", PLACEMENT)["HostConfig"]
    assert (host["NetworkMode"], host["PublishAllPorts"], "PortBindings" in host) == ("bridge", False, False)


@pytest.mark.parametrize("network", ["host", "container:other", "filtered", ""])
def test_other_networks_are_refused(network: str) -> None:
    with pytest.raises(InvalidRequest, match="network"):
        container_config(KEY, MachineSpec("box", "go", network=network), "i", "b", PLACEMENT)


def test_a_callers_labels_cannot_pass_for_ours() -> None:
    labels = {"vmpool.pool": "other", "team": "a"}
    config = container_config(KEY, MachineSpec("box", "go", labels=labels), "i", "b", PLACEMENT)
    assert config["Labels"]["vmpool.pool"] == "p1"
    assert config["Labels"]["vmpool.label.vmpool.pool"] == "other"
    assert config["Labels"]["vmpool.label.team"] == "a"


def test_the_callers_environment_stays_out_of_the_engines_records() -> None:
    spec = MachineSpec("box", "go", env={"TOKEN": "secret-value"})
    assert "secret-value" not in str(container_config(KEY, spec, "i", "b", PLACEMENT))


def test_the_digest_tells_specs_apart_and_ignores_order() -> None:
    one = MachineSpec("box", "go", labels={"a": "1", "b": "2"})
    same = MachineSpec("box", "go", labels={"b": "2", "a": "1"})
    assert spec_digest(one) == spec_digest(same)
    assert spec_digest(one) != spec_digest(MachineSpec("box", "go", Limits(memory=1), labels=one.labels))


@pytest.mark.parametrize("pool_id", ["", "Upper", "-x", "a b", "x" * 64, "a/b", "ä"])
def test_a_pool_id_must_fit_the_engines_names(pool_id: str) -> None:
    with pytest.raises(InvalidRequest, match="pool_id"):
        checked_pool_id(pool_id)


@pytest.mark.parametrize("reference", ["", ".x", "a b", "a:b", "x" * 129, "../x"])
def test_a_reference_must_fit_an_images_tag(reference: str) -> None:
    with pytest.raises(InvalidRequest, match="reference"):
        snapshot_image("p1", reference)


def test_names() -> None:
    assert container_name("p1", KEY) == "vmpool-p1-vm-7-2"
    assert snapshot_image("p1", "snap-3") == "vmpool-snap/p1:snap-3"


@pytest.mark.parametrize(
    ("runtime", "isolation"),
    [
        ("runc", "container"),
        ("crun", "container"),
        ("runsc", "gvisor"),
        ("runsc-kvm", "gvisor"),
        ("kata", "microvm"),
        ("io.containerd.kata.v2", "microvm"),
    ],
)
def test_isolation_by_the_runtimes_name(runtime: str, isolation: str) -> None:
    assert isolation_of(runtime) == isolation
