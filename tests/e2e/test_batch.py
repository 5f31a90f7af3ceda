"""Many runs of the same work, through the `vm` command and both SDK clients, and the page about them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from xml.etree import ElementTree

import anyio
import pytest

from tests.e2e.conftest import VM, Site
from tests.e2e.pools import Pool
from vmpool import AsyncClient, Client
from vmpool.client.jobs import Job, JobChange

PAGE = Path(__file__).parents[2] / "docs" / "batch.md"
pytestmark = pytest.mark.timeout(180)


def test_the_commands_of_the_page_work(site: Site, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**site.env, "PATH": f"{VM.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--- python, bash (2 of 2): exit 0\nthe same\n" in done.stdout
    assert "--- inputs/3.csv: exit 0\n3 6\n" in done.stdout
    assert "\n3\n" in done.stdout and '"tests/test_two.py":' in done.stdout
    assert site.done("list", "--quiet") == ""


def test_failures_come_first_and_decide_the_status(site: Site, tmp_path: Path) -> None:
    program = tmp_path / "job.sh"
    program.write_text('read word < "$INPUT"; echo "$word"; test "$word" != bad')
    inputs = [tmp_path / name for name in ("a", "b", "c", "odd name\n")]
    for path in inputs:
        path.write_bytes(b"bad\n" if path.name == "b" else b"good\n")
    report = tmp_path / "report.xml"
    done = site.vm("map", str(program), *map(str, inputs), "--vms", "2", "--junit", str(report))
    assert done.returncode == 1
    assert done.stdout.startswith(f"--- {inputs[1]}: exit 1\nbad\n")
    assert "(3 of 4): exit 0\ngood\n" in done.stdout
    (suite,) = ElementTree.fromstring(report.read_text())
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("4", "1")
    assert site.vm("batch", "--templates", "python,none", "--", "true").returncode == 125
    assert site.vm("map", str(program), str(tmp_path / "nowhere")).returncode == 2
    assert site.vm("shard", "a", "--command", "'").returncode == 2
    assert site.done("list", "--quiet") == ""


def test_a_setup_prepares_each_vm_once_before_its_jobs(site: Site, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    words = ("one", "two", "three", "--project", str(project), "--vms", "1")
    done = site.vm("shard", *words, "--setup", "echo ready >> prepared", "--command", "sh -c 'cat prepared'")
    assert (done.returncode, done.stdout) == (0, "--- one, two, three (3 of 3): exit 0\nready\n"), done.stderr
    failed = site.vm("shard", *words, "--setup", "echo no such thing; exit 3", "--command", "true")
    assert failed.returncode == 125
    assert "the setup 'echo no such thing; exit 3' ended with exit code 3:\nno such thing" in failed.stderr
    over = site.vm("batch", "--templates", "python,bash", "--setup", "touch here", "--", "test", "-e", "here")
    assert over.returncode == 0, over.stderr
    assert site.vm("batch", "--setup", "true", "1").returncode == 2
    assert site.done("list", "--quiet") == ""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_vm(site: Site, tmp_path: Path, how: signal.Signals) -> None:
    program = tmp_path / "job.sh"
    program.write_text("sleep 60")
    for name in "abc":
        (tmp_path / name).touch()
    words: list[str | Path] = [VM, "map", program, *(tmp_path / name for name in "abc"), "--vms", "3"]
    with subprocess.Popen(words, env=site.env, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + 30
        with Client(site.url, site.key) as client:
            while sum(bool(vm.executions(state="running")) for vm in client.list_vms()) < 2:
                assert running.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        running.send_signal(how)
        assert running.wait(40) == 128 + how
    assert site.done("list", "--quiet") == ""


def test_a_job_whose_vm_is_lost_is_run_again_and_one_that_failed_is_not(pool: Pool) -> None:
    begun: list[str] = []
    client = pool.client
    address = client.address()

    def told(change: JobChange) -> None:
        if change.result is None:
            begun.append(str(change.vm))
            if change.place == 0 and len([name for name in begun if name]) == 1:
                threading.Thread(target=lose, args=(str(change.vm),)).start()

    def lose(name: str) -> None:
        with Client(address.url, address.api_key) as other:
            while not other.list_executions(name, state="running"):
                time.sleep(0.02)
            other.delete_vm(name)

    jobs = [Job("lost once", "bash", command="sleep 1; echo done"), Job("fails", "bash", command="exit 3")]
    lost, failed = client.jobs.run(jobs, vms=1, told=told)
    assert lost.ok and lost.execution is not None and lost.execution.output == "done\n"
    assert lost.attempts == 2 and len(set(begun)) == 2
    assert failed.execution is not None and failed.execution.exit_code == 3 and failed.attempts == 1
    assert client.list_vms() == []


def test_many_jobs_in_a_few_vms_by_the_asynchronous_client(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "data").write_bytes(b"here")
    address = pool.client.address()

    async def work() -> list[str]:
        async with AsyncClient(address.url, address.api_key) as client:
            jobs = [Job(str(number), "bash", command=f"cat data; echo {number}") for number in range(20)]
            found = await client.jobs.run(jobs, vms=3, project=tmp_path / "project")
            assert len({result.vm for result in found}) in (1, 2, 3)
            return [result.execution.output for result in found if result.execution is not None]

    assert anyio.run(work) == [f"here{number}\n" for number in range(20)]
    assert pool.client.list_vms() == []


def test_fewer_vms_than_asked_for_do_it_too(site: Site, tmp_path: Path) -> None:
    with Client(site.url, site.key) as client:
        kept = [client.create_vm(f"kept-{number}", "bash") for number in range(9)]
        found = client.jobs.run([Job(str(n), "bash", command="true") for n in range(6)], vms=4)
        assert all(result.ok for result in found)
        assert {vm.id for vm in client.list_vms()} == {vm.id for vm in kept}


def test_json_has_everything(site: Site, tmp_path: Path) -> None:
    found = json.loads(site.done("batch", "--templates", "bash", "--json", "--", "echo", "a b"))
    assert [(one["name"], one["attempts"], one["execution"]["output"]) for one in found] == [
        ("bash", 1, "a b\n")
    ]
