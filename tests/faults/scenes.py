"""The verbs as a client plays them, each with its stage and what must be so whenever the server died."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from anyio.abc import TaskGroup

if TYPE_CHECKING:
    from tests.faults.mortal import Site

INTERRUPTED = "interrupted"
FLOOD = 300_000


class Scene(abc.ABC):
    """One verb.  settings: what its servers have beside the usual.  quiet: seconds without reaching a point
    after which it is over, with what it left to do behind its answer."""

    name: str
    quiet = 0.4
    settings: dict[str, Any] = {}  # noqa: RUF012 - read only

    @abc.abstractmethod
    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        """Everything up to the verb; also after a life that ended anywhere in it."""

    @abc.abstractmethod
    async def act(self, site: Site) -> None:
        """The verb; tells `answered` with what the client was answered."""

    def still_running(self, site: Site, past: dict[str, Any]) -> frozenset[int]:
        """Executions of the scene that may go on after the crash."""
        return frozenset()

    @abc.abstractmethod
    async def check(self, site: Site, past: dict[str, Any]) -> None:
        """Rows and host agree: what must be so now, answered or not."""


async def ensure(site: Site, name: str) -> dict[str, Any]:
    """The VM of this name, running."""
    found = await site.call("GET", f"/api/vms/{name}")
    if found.status_code == 404:
        made = {"name": name, "language": "python", "disk_limit": 64}
        vm: dict[str, Any] = await site.ok("POST", "/api/vms/create", made)
        return vm
    vm = found.json()
    if vm["status"] != "running":
        vm = await site.ok("POST", f"/api/vms/{name}/start")
    return vm


async def ensure_snapshot(site: Site, vm: str, name: str) -> int:
    """The snapshot of this name; its id."""
    for kept in await site.ok("GET", f"/api/vms/{vm}/snapshots"):
        if kept["name"] == name:
            return int(kept["id"])
    return int((await site.ok("POST", f"/api/vms/{vm}/snapshot", {"name": name}))["id"])


class Create(Scene):
    """A VM made cold, with an Idempotency-Key."""

    name = "create"

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        if (await site.call("GET", "/api/vms/new")).status_code == 200:
            await site.ok("DELETE", "/api/vms/new")

    def _body(self) -> dict[str, Any]:
        return {"name": "new", "language": "python", "memory_limit": 256, "disk_limit": 64}

    async def act(self, site: Site) -> None:
        answer = await site.call("POST", "/api/vms/create", self._body(), key=f"create-{site.order.number}")
        assert answer.status_code == 201, answer.text
        site.tell(answered=answer.json()["id"])

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        there = await site.call("GET", "/api/vms/new")
        if "answered" in past:
            assert there.status_code == 200 and there.json()["id"] == past["answered"], there.text
        if there.status_code == 200:
            assert there.json()["status"] == "running", there.text
        again = await site.call("POST", "/api/vms/create", self._body(), key=f"create-{past['number']}")
        if again.status_code == 201:
            assert there.status_code == 404 or again.json()["id"] == there.json()["id"], again.text
        else:
            assert again.json()["code"] == INTERRUPTED, again.text
        assert [vm["name"] for vm in await site.ok("GET", "/api/vms")].count("new") <= 1


class Claim(Create):
    """A VM made out of one that waits."""

    name = "claim"
    quiet = 1.0  # the engine is told of a claim half a second later
    settings = {  # noqa: RUF012
        "warm_pool": {"maximum": 1, "minimum": {"python": 1}},
        "limits": {"default_disk_limit": 64},
    }

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        await super().prepare(site, tasks)

        async def one_waits() -> bool:
            pool = await site.ok("GET", "/api/vms/pool-status")
            return bool(pool["warm_pool"]["ready"].get("python"))

        await site.until(one_waits, "a VM waits to be claimed")


class Execute(Scene):
    """A program that leaves a mark of having run, and writes more than the agent and the row keep."""

    name = "execute"
    settings = {"output": {"inline_limit": 250_000}}  # noqa: RUF012

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        await ensure(site, "box")
        await site.shell("box", "rm -f ran-*")

    def _code(self, number: int) -> str:
        return f"open('ran-{number}', 'x').close()\nprint('b' * {FLOOD})\nprint('end {number}')"

    async def act(self, site: Site) -> None:
        number = site.order.number
        body = {"code": self._code(number)}
        answer = await site.call("POST", "/api/vms/box/execute", body, key=f"execute-{number}")
        assert answer.status_code == 200, answer.text
        site.tell(answered=answer.json()["id"])

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        number = past["number"]
        ran = "yes" in await site.shell("box", f"[ -e ran-{number} ] && echo yes || echo no")
        found = await self._executions(site, number)
        if "answered" in past:
            assert [one["id"] for one in found] == [past["answered"]]
        for one in found:
            if one["state"] == "finished":
                assert one["exit_code"] == 0 and one["error"] == "", one["error"]
                whole = await site.call("GET", f"/api/vms/box/executions/{one['id']}/output")
                assert whole.text == f"{'b' * FLOOD}\nend {number}\n", f"{len(whole.text)} bytes"
                assert ran
            else:
                assert one["state"] == "lost" and "answered" not in past and not ran, one["failure"]
        if not found:
            assert not ran
        again = await site.call(
            "POST", "/api/vms/box/execute", {"code": self._code(number)}, key=f"execute-{number}"
        )
        if again.status_code != 200:
            assert again.json()["code"] == INTERRUPTED, again.text
        else:
            assert again.json()["exit_code"] == 0, again.text
        assert len(await self._executions(site, number)) == 1 or (not found and again.status_code != 200)

    async def _executions(self, site: Site, number: int) -> list[dict[str, Any]]:
        newest = await site.ok("GET", "/api/vms/box/executions?limit=10")
        return [one for one in newest if one["code"] == self._code(number)]


class Stop(Scene):
    """A VM in which something runs."""

    name = "stop"
    verb, path = "POST", "/api/vms/box/stop"

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        await ensure(site, "box")
        tasks.start_soon(site.call, "POST", "/api/vms/box/execute", {"command": "echo begun; sleep 600"})

        async def begun() -> bool:
            entries = await site.ok("GET", "/api/vms/box/logs?tail=1")
            return bool(entries) and entries[-1]["text"] == "begun\n"

        await site.until(begun, "the program in the VM began")
        newest = await site.ok("GET", "/api/vms/box/executions?limit=1")
        site.tell(sleeper=newest[0]["id"], box=(await site.ok("GET", "/api/vms/box"))["id"])

    async def act(self, site: Site) -> None:
        await site.ok(self.verb, self.path)
        site.tell(answered=True)

    def still_running(self, site: Site, past: dict[str, Any]) -> frozenset[int]:
        status = site.host.query("SELECT status FROM virtual_machines WHERE id = ?", past["box"])
        runs = status == [("running",)]
        return frozenset({past["sleeper"]}) if runs else frozenset()

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        state = (await site.ok("GET", "/api/vms/box"))["status"]
        assert state == "stopped" or "answered" not in past, state
        if state == "running":  # the verb never began: the program goes on, and is followed
            await site.ok(self.verb, self.path)
        await self._sleeper_ended(site, past)
        assert await site.shell((await ensure(site, "box"))["name"], "echo back") == "back\n"

    async def _sleeper_ended(self, site: Site, past: dict[str, Any]) -> None:
        sleeper = await site.ok("GET", f"/api/vms/{past['box']}/executions/{past['sleeper']}")
        assert sleeper["state"] == "lost" and sleeper["failure"], sleeper


class Delete(Stop):
    """A VM in which something runs, and of which there is a snapshot."""

    name = "delete"
    verb, path = "DELETE", "/api/vms/box"

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        await ensure(site, "box")
        await ensure_snapshot(site, "box", "base")
        await super().prepare(site, tasks)

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        there = (await site.call("GET", "/api/vms/box")).status_code == 200
        assert not (there and "answered" in past)
        if there:
            await site.ok(self.verb, self.path)
        await self._sleeper_ended(site, past)


class Snapshot(Scene):
    """A snapshot of a running VM, restored from where it is there."""

    name = "snapshot"

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        await ensure(site, "box")
        for kept in await site.ok("GET", "/api/vms/box/snapshots"):
            await site.ok("DELETE", f"/api/vms/box/snapshots/{kept['id']}")
        await site.shell("box", f"echo {site.order.number} > note")

    async def act(self, site: Site) -> None:
        answer = await site.call(
            "POST", "/api/vms/box/snapshot", {"name": "second"}, key=f"snapshot-{site.order.number}"
        )
        assert answer.status_code == 201, answer.text
        site.tell(answered=answer.json()["id"])

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        kept = await site.ok("GET", "/api/vms/box/snapshots")
        if "answered" in past:
            assert [one["id"] for one in kept] == [past["answered"]], kept
        for one in kept:
            await site.shell("box", "echo changed > note")
            await site.ok("POST", "/api/vms/box/restore", {"snapshot_id": one["id"]})
            assert await site.shell("box", "cat note") == f"{past['number']}\n"


class Restore(Scene):
    """A running VM put back to its snapshot: what is in it afterwards is the one or the other, whole."""

    name = "restore"

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        vm = await ensure(site, "box")
        if not await site.ok("GET", "/api/vms/box/snapshots"):
            await site.shell("box", "echo kept > note")
        snapshot = await ensure_snapshot(site, "box", "base")
        await site.shell("box", "echo changed > note")
        site.tell(snapshot=snapshot, box=vm["id"], container=vm["container_id"])

    async def act(self, site: Site) -> None:
        (snapshot,) = await site.ok("GET", "/api/vms/box/snapshots")
        await site.ok("POST", "/api/vms/box/restore", {"snapshot_id": snapshot["id"]})
        site.tell(answered=True)

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        vm = await site.ok("GET", "/api/vms/box")
        assert vm["status"] == "running" and vm["id"] == past["box"]
        restored = vm["container_id"] != past["container"]
        assert restored or "answered" not in past
        assert await site.shell("box", "cat note") == ("kept\n" if restored else "changed\n")


class Fork(Scene):
    """A copy of a running VM: there with its files, or not there."""

    name = "fork"

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        await ensure(site, "box")
        await site.call("DELETE", "/api/vms/copy")
        for kept in await site.ok("GET", "/api/vms/box/snapshots"):
            await site.ok("DELETE", f"/api/vms/box/snapshots/{kept['id']}")
        await site.shell("box", f"echo {site.order.number} > note")

    async def act(self, site: Site) -> None:
        answer = await site.call(
            "POST", "/api/vms/box/fork", {"names": ["copy"]}, key=f"fork-{site.order.number}"
        )
        assert answer.status_code == 201, answer.text
        site.tell(answered=answer.json()[0]["id"])

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        found = await site.call("GET", "/api/vms/copy")
        if "answered" in past:
            assert found.json()["id"] == past["answered"], found.text
        if found.status_code == 200:
            assert found.json()["status"] == "running", found.text
            assert await site.shell("copy", "cat note") == f"{past['number']}\n"


class Template(Scene):
    """A template of a running VM, and a VM made from it: each there, whole, or not there."""

    name = "template"

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        await ensure(site, "box")
        await site.call("DELETE", "/api/vms/copy")
        for kept in await site.ok("GET", "/api/templates"):
            await site.ok("DELETE", f"/api/templates/{kept['id']}")
        for kept in await site.ok("GET", "/api/vms/box/snapshots"):
            await site.ok("DELETE", f"/api/vms/box/snapshots/{kept['id']}")
        await site.shell("box", f"echo {site.order.number} > note")

    async def act(self, site: Site) -> None:
        number = site.order.number
        body = {"name": "mine", "vm_id": "box"}
        answer = await site.call("POST", "/api/templates", body, key=f"template-{number}")
        assert answer.status_code == 201, answer.text
        site.tell(published=answer.json()["id"])
        asked = {"name": "copy", "template": "mine", "disk_limit": 64}
        answer = await site.call("POST", "/api/vms/create", asked, key=f"from-{number}")
        assert answer.status_code == 201, answer.text
        site.tell(made=answer.json()["id"])
        await site.ok("DELETE", "/api/templates/mine")
        site.tell(deleted=True)
        snapshot = await site.ok("POST", "/api/vms/box/snapshot")
        await site.ok("POST", "/api/templates", {"name": "of-it", "snapshot_id": snapshot["id"]})
        await site.ok("DELETE", f"/api/vms/box/snapshots/{snapshot['id']}")
        site.tell(answered=True)

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        there = await site.ok("GET", "/api/templates")
        names = [one["name"] for one in there]
        assert not ("mine" in names and "deleted" in past), there
        assert "of-it" in names or "answered" not in past, there
        assert not ("answered" in past and await site.ok("GET", "/api/vms/box/snapshots"))
        if "published" in past and "made" not in past:
            assert [one["id"] for one in there] == [past["published"]], there
        for one in there:
            body = {"name": "again", "template": one["name"], "disk_limit": 64}
            await site.ok("POST", "/api/vms/create", body)
            assert await site.shell("again", "cat note") == f"{past['number']}\n"
            await site.ok("DELETE", "/api/vms/again")
        found = await site.call("GET", "/api/vms/copy")
        if "made" in past:
            assert found.json()["id"] == past["made"], found.text
        if found.status_code == 200:
            assert found.json()["status"] == "running", found.text
            assert await site.shell("copy", "cat note") == f"{past['number']}\n"


class Pause(Scene):
    """A VM that is held, and stopped as it is."""

    name = "pause"

    async def prepare(self, site: Site, tasks: TaskGroup) -> None:
        await ensure(site, "box")
        await site.shell("box", f"echo {site.order.number} > note")

    async def act(self, site: Site) -> None:
        await site.ok("POST", "/api/vms/box/pause")
        site.tell(held=True)
        await site.ok("POST", "/api/vms/box/stop")
        site.tell(answered=True)

    async def check(self, site: Site, past: dict[str, Any]) -> None:
        state = (await site.ok("GET", "/api/vms/box"))["status"]
        if "answered" in past:
            assert state == "stopped", state
        elif "held" in past:
            assert state in ("paused", "stopped"), state
        else:
            assert state in ("running", "paused"), state
        await ensure(site, "box")
        assert await site.shell("box", "cat note") == f"{past['number']}\n"


SCENES: dict[str, Scene] = {
    scene.name: scene
    for scene in (
        Create(),
        Claim(),
        Execute(),
        Stop(),
        Delete(),
        Snapshot(),
        Restore(),
        Fork(),
        Template(),
        Pause(),
    )
}
