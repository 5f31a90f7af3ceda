"""What is decided about many jobs, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from vmpool.client import durations, errors, reports
from vmpool.client.jobs import (
    SETUP_SAID,
    Job,
    JobResult,
    is_crowded,
    is_infrastructure,
    language_of,
    order,
    setup_failed,
    workers,
)
from vmpool.client.models import Execution

EXECUTION = {
    "id": 7,
    "vm_id": 3,
    "code": "",
    "execution_time": 0.02,
    "executed_at": "2026-01-02T03:04:05Z",
    "timed_out": False,
    "oom_killed": False,
    "truncated": False,
    "cpu_time": 0.01,
    "max_memory": 9_000_000,
    "state": "finished",
    "language": "python",
    "failure": None,
}


def result(
    name: str, output: str = "", exit_code: int | None = 0, seconds: float = 1.0, **more: object
) -> JobResult:
    fields = {**EXECUTION, "output": output, "error": "", "exit_code": exit_code, **more}
    return JobResult(Job(name, "python"), Execution.model_validate(fields), None, "vm", 1, seconds)


def lost(name: str) -> JobResult:
    problem = errors.ServerUnreachable("http://there", "gone <away>", "never_dispatched")
    return JobResult(Job(name, "python"), None, problem, None, 3, 0.0)


def test_what_nobody_knows_begins_first_and_then_the_longest() -> None:
    expected = [1.0, None, 3.0, None, 2.0]
    assert order([Job(str(one), "python", expected=one) for one in expected]) == [1, 3, 2, 4, 0]


@pytest.mark.parametrize(
    ("templates", "vms", "given"),
    [
        ("aaaa", 2, {"a": 2}),
        ("aa", 9, {"a": 2}),
        ("ab", 1, {"a": 1, "b": 1}),
        ("aaab", 3, {"a": 2, "b": 1}),
        ("aaaaabb", 4, {"a": 3, "b": 1}),
        ("", 4, {}),
    ],
)
def test_each_template_has_its_vms(templates: str, vms: int, given: dict[str, int]) -> None:
    assert workers([Job("x", name) for name in templates], vms) == given


def test_templates_are_named_after_languages() -> None:
    assert [language_of(name) for name in ("python3.13", "nodejs", "go-1.22", "python")] == [
        "python",
        "nodejs",
        "go",
        "python",
    ]


def test_what_is_tried_again() -> None:
    def known(code: str, status: int) -> errors.APIError:
        from vmpool.client.models import Problem

        return Problem(status=status, code=code, detail="x").as_error()

    assert is_infrastructure(errors.ServerUnreachable("x", "y", "outcome_unknown"))
    assert is_infrastructure(known("agent_unreachable", 502))
    assert is_infrastructure(known("vm_not_found", 404))
    assert not is_infrastructure(known("invalid_request", 422))
    assert not is_infrastructure(known("template_not_found", 404))
    assert is_crowded(known("quota_exceeded", 429)) and is_crowded(known("pool_full", 503))
    assert not is_crowded(known("backend_failed", 502))


def test_a_setup_that_fails_says_what_it_said_last_and_is_tried_again_where_its_vm_was_lost() -> None:
    ran = result("a", "x" * SETUP_SAID + "no such package", 1).execution
    assert ran is not None
    failed = setup_failed("pip install x", ran)
    assert failed.message.startswith("the setup 'pip install x' ended with exit code 1:\nxxx")
    assert failed.message.endswith("no such package") and len(failed.message) < SETUP_SAID + 60
    assert not is_infrastructure(failed)
    assert is_infrastructure(setup_failed("true", ran.model_copy(update={"state": "lost"})))


def test_the_same_is_together_and_what_is_wrong_comes_first() -> None:
    found = [
        result("a", "fine"),
        result("b", "bad", 1),
        result("c", "fine"),
        lost("d"),
        result("e", "other"),
        result("f", "bad", 1),
        result("g", "bad", 2),
    ]
    together = [[one.job.name for one in group.results] for group in reports.groups(found)]
    assert together == [["d"], ["b", "f"], ["g"], ["a", "c"], ["e"]]
    assert reports.verdict(found[1]) == "exit 1" and reports.verdict(found[3]) == "no result"
    assert reports.verdict(result("h", exit_code=137, timed_out=True)) == "timed out"


def test_junit_is_well_formed_whatever_was_written() -> None:
    wild = "\x00\x1b[31m<b>&\"' ]]> \ud7ff\ufffe\U0001f600"
    found = [result('"a"<&>', wild), result("b", wild, 1), lost("c")]
    root = ElementTree.fromstring(reports.junit("suite <&>", found).encode())
    assert root.attrib["tests"] == "3"
    (suite,) = root
    assert (suite.attrib["failures"], suite.attrib["errors"]) == ("1", "1")
    cases = list(suite)
    assert cases[0].attrib["name"] == '"a"<&>' and "<b>&" in str(cases[0].findtext("system-out"))
    assert cases[1].find("failure") is not None
    assert "gone <away>" in cases[2][0].attrib["message"]


def test_durations_are_kept_and_never_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / durations.FILE
    assert durations.load(path) == {}
    durations.save(path, durations.merged({"a": 4.0, "gone": 1.0}, [result("a", seconds=2.0), lost("b")]))
    assert durations.load(path) == {"a": 3.0, "gone": 1.0}
    assert [one.name for one in tmp_path.iterdir()] == [durations.FILE]
    for wrong in ("", "[]", "{", "nul", json.dumps({"a": "x", "b": -1, "c": 1e999, "d": None})):
        path.write_text(wrong)
        assert durations.load(path) == {}
