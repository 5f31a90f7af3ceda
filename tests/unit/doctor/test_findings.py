"""What is concluded from what is seen, by tables; and devices that are not what they seem."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmpool.backends.base import BackendInfo
from vmpool.doctor import Answer, Finding, Limit, Report, Way
from vmpool.doctor.kernel import kernel, kvm, user_namespaces
from vmpool.doctor.report import LIMITS, judged
from vmpool.doctor.ways import engine, limits_of


@pytest.mark.parametrize(
    ("release", "answer"),
    [
        ("6.1.0-18-amd64", Answer.YES),
        ("5.19.0", Answer.YES),
        ("5.15.0-91-generic", Answer.PARTLY),
        ("5.12", Answer.PARTLY),
        ("4.19.0", Answer.NO),
    ],
)
def test_the_kernel(release: str, answer: Answer) -> None:
    found = kernel(release)
    assert found.answer is answer
    assert bool(found.remedy) is (answer is not Answer.YES)


@pytest.mark.parametrize(
    ("by", "answer"),
    [
        ("cgroup v2", Answer.YES),
        ("a file system per VM", Answer.YES),
        ("RLIMIT_DATA per process", Answer.PARTLY),
        ("RLIMIT_NPROC in the VM's user namespace", Answer.PARTLY),
        ("RLIMIT_FSIZE per file", Answer.PARTLY),
        ("nothing", Answer.NO),
    ],
)
def test_what_holds_a_limit(by: str, answer: Answer) -> None:
    assert judged("memory", by) == Limit("memory", answer, by)


def test_a_limit_nobody_speaks_of_is_held_by_nothing() -> None:
    info = BackendInfo("x", "1", "namespaces", "user", (), {"cpu": "cgroup v2"}, ())
    assert [limit.name for limit in limits_of(info)] == list(LIMITS)
    assert {limit.name for limit in limits_of(info) if limit.answer is Answer.NO} == {*LIMITS} - {"cpu"}


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("user/max_user_namespaces", "0"),
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ],
)
def test_a_setting_that_forbids_namespaces_is_named(tmp_path: Path, file: str, value: str) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(f"{value}\n")
    found = user_namespaces(tmp_path)
    assert found.answer is not Answer.YES
    assert file.rpartition("/")[2] in found.remedy


def test_a_device_that_opens_proves_nothing(tmp_path: Path) -> None:
    assert kvm(tmp_path / "missing").answer is Answer.NO
    (tmp_path / "kvm").touch()
    found = kvm(tmp_path / "kvm")
    assert found.answer is Answer.NO
    assert "makes no VM" in found.found


def test_the_engines_storage() -> None:
    info = {
        "ServerVersion": "20.10.24",
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
        "CgroupVersion": "2",
    }
    assert engine(info).found == "20.10.24, storage overlay2 on extfs, cgroup v2"
    assert "unknown" in engine({}).found


def way(answer: Answer, *limits: Answer, remedy: str = "") -> Way:
    return Way("w", "container", answer, "", tuple(Limit("cpu", one, "") for one in limits), remedy)


def test_what_a_report_comes_to() -> None:
    whole = way(Answer.YES, Answer.YES, Answer.YES)
    partly = way(Answer.YES, Answer.YES, Answer.PARTLY, remedy="b")
    broken = way(Answer.NO, remedy="b")
    host = (Finding("x", Answer.NO, "", "a"), Finding("y", Answer.YES, ""))
    assert not Report(host, (broken,)).usable
    assert Report(host, (broken, partly)).usable
    assert not Report(host, (broken, partly)).complete
    assert Report(host, (whole, partly)).complete
    assert not way(Answer.YES).holds_everything
    assert Report(host, (broken, partly)).remedies == ("a", "b")
