"""Contexts through the `vm` command and both SDK clients, and the page about them."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.e2e.conftest import VM, Site
from vmpool import AsyncClient, Client
from vmpool.client import CellOutput, CellResult, errors

PAGE = Path(__file__).parents[2] / "docs" / "contexts.md"


def test_the_commands_of_the_page_work(site: Site, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**site.env, "PATH": f"{VM.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "so\n42\n" in done.stdout and "<svg xmlns" in done.stdout
    assert "hello from /tmp\n41\n" in done.stdout
    assert "NameError: name 'x' is not defined" in done.stderr


def test_the_command(site: Site) -> None:
    site.done("create", "a", "python")
    context = site.done("context", "create", "a").strip()
    assert site.data("context", "execute", "a", context, "1 + 1")["outputs"][0]["data"] == {"text/plain": "2"}
    failed = site.vm("context", "execute", "a", context, "1 / 0")
    assert failed.returncode == 1 and "ZeroDivisionError" in failed.stderr
    died = site.vm("context", "execute", "a", context, "import os; os._exit(3)")
    assert died.returncode == 1 and "vm context restart" in died.stderr
    again = site.vm("context", "execute", "a", context, "1")
    assert again.returncode == 125 and "exit code 3" in again.stderr
    assert site.data("context", "list", "a")[0]["state"] == "dead"
    site.done("context", "restart", "a", context)
    site.done("context", "interrupt", "a", context)
    site.done("context", "delete", "a", context)
    assert site.done("context", "list", "a", "--quiet") == ""
    assert site.vm("context", "create", "a", "rust").returncode == 125


def test_the_client(site: Site) -> None:
    with Client(site.url, site.key) as client, client.create_vm("a", "python") as vm:
        with vm.context() as context:
            context.run("x = 41")
            heard: list[CellOutput] = []
            result = context.run("print('hi')\nx + 1", on_output=heard.append)
            assert (result.ok, result.text, result.stdout) == (True, "42", "hi\n")
            assert result.outputs == heard and result.error is None
            failed = context.run("y")
            assert failed.error is not None and failed.error.name == "NameError" and failed.text is None
            assert context.refresh().cells == 3
            assert context.interrupt().state == "idle"
            assert context.restart().cells == 0
            assert [one.id for one in vm.contexts()] == [context.id]
        with pytest.raises(errors.ContextNotFound):
            context.run("1")


@pytest.mark.anyio
async def test_the_asynchronous_client(site: Site) -> None:
    async with AsyncClient(site.url, site.key) as client, await client.create_vm("a", "python") as vm:
        async with await vm.context("python", env={"A": "b"}) as context:
            async with aclosing(context.events("import os\nprint(os.environ['A'])")) as events:
                found = [event async for event in events]
            assert isinstance(found[0], CellOutput) and found[0].text == "b\n"
            assert isinstance(found[1], CellResult) and found[1].ok
