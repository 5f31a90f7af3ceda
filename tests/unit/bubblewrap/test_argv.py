"""The launch plan is a pure function of values."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from vmpool.backends.base import MachineSpec
from vmpool.backends.bubblewrap.argv import Launch, bubblewrap, first_program, plan, rlimits, tmp_size
from vmpool.backends.bubblewrap.host import Grade, Host, Programs
from vmpool.backends.bubblewrap.layout import Record, VMPaths
from vmpool.backends.bubblewrap.toolchains import Toolchain
from vmpool.domain import Limits

SECRET_PLACE = "/srv/secret/state"


def launch(grade: Grade, *, image: bool = True, own: frozenset[str] = frozenset()) -> Launch:
    return Launch(
        paths=VMPaths(Path(SECRET_PLACE, "vms/vm-7-1")),
        record=Record(
            spec=MachineSpec("box", "python", Limits(memory=256, processes=50), env={"TOKEN": "hush"}),
            grade=grade,
            image=image,
            disk=100,
            base="b",
            tree="b-1",
            toolchains=(Toolchain("rust", f"{SECRET_PLACE}/rust"),),
        ),
        programs=Programs(Path("/x/bwrap"), Path("/x/bin"), "x86_64"),
        base=Path(SECRET_PLACE, "base/b-1"),
        system=("usr",),
        own_toolchains=own,
        pidfile=Path(SECRET_PLACE, "pid"),
        cgroups=("/cg/memory/cgroup.procs",),
        cgroup_limits=frozenset({"memory", "processes"}),
        ids=65536,
    )


def words(of: Launch) -> list[str]:
    text = plan(of)
    assert text.endswith(b"\0end\0")
    return text.decode().split("\0")[:-1]


def overlays(of: Launch) -> dict[str, str]:
    said = words(of)
    return {said[at + 1]: said[at + 2] for at, word in enumerate(said) if word == "overlay"}


def test_root_has_an_upper_layer_everywhere_but_over_the_agent() -> None:
    made = overlays(launch(Grade.ROOT))
    assert set(made) == {"vm", "vm/usr", "vm/opt/rust", "vm/.vmpool"}
    assert [target for target, options in made.items() if "upperdir" not in options] == ["vm/.vmpool"]


def test_user_can_write_home_and_its_own_toolchains_only() -> None:
    made = overlays(launch(Grade.USER))
    assert [target for target, options in made.items() if "upperdir" in options] == ["home"]
    made = overlays(launch(Grade.USER, own=frozenset({"rust"})))
    assert [target for target, options in made.items() if "upperdir" in options] == ["opt-rust", "home"]


@pytest.mark.parametrize("grade", Grade)
def test_no_overlay_names_a_path_of_the_host(grade: Grade) -> None:
    for target, options in overlays(launch(grade)).items():
        assert "/srv" not in options
        assert not target.startswith("/")
        assert ":/" not in options and "=/" not in options


@pytest.mark.parametrize("grade", Grade)
def test_the_environment_of_the_vm_is_not_in_the_plan(grade: Grade) -> None:
    assert b"hush" not in plan(launch(grade))


@pytest.mark.parametrize("grade", Grade)
def test_what_the_vm_sees_of_its_own_command_line(grade: Grade) -> None:
    program = first_program(launch(grade))
    agent = program[program.index("--") + 1 :]
    assert agent == ["/.vmpool/vmpool-agent-x86_64", "--listen-fd", "3"]
    assert "/srv" not in " ".join(program)


@pytest.mark.parametrize("grade", Grade)
@pytest.mark.parametrize("space", ["pid", "ipc", "uts", "net"])
def test_every_namespace_is_its_own(grade: Grade, space: str) -> None:
    assert f"--unshare-{space}" in bubblewrap(launch(grade))


def test_user_and_cgroup_namespaces() -> None:
    """The launcher and the first process make root's, with a range of ids; bubblewrap the user's."""
    root, user = launch(Grade.ROOT), launch(Grade.USER)
    for namespace in ("--unshare-user", "--unshare-cgroup"):
        assert namespace not in bubblewrap(root)
        assert namespace in bubblewrap(user)
    assert "--range" in first_program(root)
    assert ["range", "65536"] == words(root)[words(root).index("range") :][:2]
    assert "--range" not in first_program(user)


def test_every_tmpfs_is_sized() -> None:
    said = bubblewrap(launch(Grade.USER))
    for grade in Grade:
        assert "--tmpfs" not in bubblewrap(launch(grade))  # it cannot bound the number of files
    said = words(launch(Grade.USER))
    assert [said[at + 1 : at + 3] for at, word in enumerate(said) if word == "tmpfs"] == [
        ["tmp", "size=128m,nr_inodes=8192,mode=1777"],
    ]


def test_a_disk_in_memory_is_sized() -> None:
    disk = launch(Grade.USER, image=False)
    assert [SECRET_PLACE + "/vms/vm-7-1/disk", "disk"] == words(disk)[words(disk).index("stage") + 3 :][:2]
    said = words(replace(disk, record=replace(disk.record, in_memory=True)))
    assert ["tmpfs", "disk", "size=128m,nr_inodes=8192,mode=755"] == said[said.index("stage") + 2 :][:3]
    assert not any(word.endswith("/disk") for word in said)


@pytest.mark.parametrize(("grade", "place"), [(Grade.ROOT, "vm/dev"), (Grade.USER, "dev")])
def test_devices_come_with_shared_memory_and_terminals_that_have_a_limit(grade: Grade, place: str) -> None:
    said = words(launch(grade))
    shared = "size=64m,nr_inodes=4096,mode=1777"
    assert said[said.index("devices") :] == ["devices", place, shared, "256", "end"]
    assert "--dev" not in bubblewrap(launch(grade))


def test_only_the_host_s_root_as_an_ordinary_user_has_something_to_be_kept_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs = Programs(Path("/x/bwrap"), Path("/x/bin"), "x86_64")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert "sys" in Host(Grade.USER, False, programs, "0.11").shielded()
    assert Host(Grade.ROOT, True, programs, "0.11").shielded() == ()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert Host(Grade.USER, False, programs, "0.11").shielded() == ()


def test_the_server_s_root_is_kept_from_the_kernel_s_settings() -> None:
    said = bubblewrap(replace(launch(Grade.USER), shielded=("sys", "irq")))
    for name in ("/proc/sys", "/proc/irq"):
        at = said.index(name)
        assert said[at - 1 : at + 2] == ["--ro-bind", name, name]
        assert said.index("--proc") < at


def test_shared_memory_has_a_limit_where_it_can_be_set() -> None:
    said = first_program(launch(Grade.ROOT))
    assert int(said[said.index("--shared-memory") + 1]) * resource.getpagesize() == 64 << 20
    assert said.index("--shared-memory") < said.index("--range")
    assert "--shared-memory" not in first_program(launch(Grade.USER))


@pytest.mark.parametrize("grade", Grade)
def test_groups_come_before_the_namespaces(grade: Grade) -> None:
    """The wait for the first move into one passes while the rest is made."""
    said = words(launch(grade))
    assert said.index("cgroup") < said.index("range" if grade is Grade.ROOT else "user")


def test_disk_image_or_directory() -> None:
    assert "image" in words(launch(Grade.ROOT))
    directory = words(launch(Grade.ROOT, image=False))
    assert "image" not in directory
    assert directory[directory.index(f"{SECRET_PLACE}/vms/vm-7-1/disk") + 1 :][:2] == ["disk", "own"]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"memory", "processes"}, set()),
        ({"processes"}, {resource.RLIMIT_DATA}),
        ({"memory"}, {resource.RLIMIT_NPROC}),
        (set(), {resource.RLIMIT_DATA, resource.RLIMIT_NPROC}),
    ],
)
def test_rlimits_stand_in_for_groups(held: set[str], expected: set[int]) -> None:
    numbers = {int(limit.split(":")[0]) for limit in rlimits(Limits(), frozenset(held))}
    assert numbers == {resource.RLIMIT_CORE, resource.RLIMIT_NOFILE} | expected
    assert resource.RLIMIT_AS not in numbers


def test_rlimit_values() -> None:
    limits = dict(limit.split(":", 1) for limit in rlimits(Limits(memory=3, processes=4), frozenset()))
    assert limits[str(resource.RLIMIT_DATA)] == "3145728:3145728"
    assert limits[str(resource.RLIMIT_NPROC)] == "4:4"
    assert limits[str(resource.RLIMIT_CORE)] == "1:1"
    assert limits[str(resource.RLIMIT_NOFILE)] == "1024:4096"


def test_tmp_is_half_the_memory() -> None:
    assert tmp_size(Limits(memory=512)) == 256
    assert tmp_size(Limits(memory=8)) == 16


def test_a_probe_runs_another_program() -> None:
    assert first_program(replace(launch(Grade.USER), program=("/bin/true",)))[-2:] == ["--", "/bin/true"]


@pytest.mark.parametrize("grade", Grade)
def test_hidden_files_are_a_layer_over_the_system(grade: Grade) -> None:
    made = overlays(replace(launch(grade), hidden=frozenset({"usr"})))
    assert made["vm/usr"].startswith("lowerdir=hidden-usr:system-usr")
