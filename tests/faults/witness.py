"""A program that runs in a VM nobody touches, from before a server's death until after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio.abc import TaskGroup

if TYPE_CHECKING:
    from tests.faults.mortal import Site

NAME = "witness"
FLOOD = 140_000
"""Bytes it writes at once: more than the agent keeps of what was read, so that part of it is on disk only."""
PROGRAM = f"""
rm -f stop; head -c {FLOOD} /dev/zero | tr '\\0' a; echo; n=0
while [ ! -e stop ]; do n=$((n+1)); echo line $n; sleep 0.02; done; echo total $n"""


class Witness:
    """Begins the program before a verb; after the crash has it end, and reads all it wrote."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def begin(self, tasks: TaskGroup) -> None:
        """Returns once the program writes its lines."""
        site = self._site
        if (await site.call("GET", f"/api/vms/{NAME}")).status_code == 404:
            await site.ok("POST", "/api/vms/create", {"name": NAME, "language": "bash", "disk_limit": 64})
        tasks.start_soon(site.call, "POST", f"/api/vms/{NAME}/execute", {"command": PROGRAM})

        async def writes() -> bool:
            entries = await site.ok("GET", f"/api/vms/{NAME}/logs?tail=1")
            return bool(entries) and "line 1" in entries[-1]["text"]

        await site.until(writes, "the witness wrote its first line")
        newest = await site.ok("GET", f"/api/vms/{NAME}/executions?limit=1")
        site.tell(witness=newest[0]["id"])

    def still_running(self, past: dict[str, Any]) -> frozenset[int]:
        """It runs until it is told to end."""
        return frozenset({past["witness"]})

    async def check(self, past: dict[str, Any]) -> None:
        """It went on through the crash, and not a byte is missing."""
        site, execution = self._site, past["witness"]
        await site.shell(NAME, "touch stop")

        async def ended() -> bool:
            found = await site.ok("GET", f"/api/vms/{NAME}/executions/{execution}")
            return bool(found["state"] != "running")

        await site.until(ended, "the witness ended")
        found = await site.ok("GET", f"/api/vms/{NAME}/executions/{execution}")
        assert (found["state"], found["exit_code"]) == ("finished", 0), found["failure"]
        flood, *lines, total, end = found["output"].split("\n")
        assert flood == "a" * FLOOD, f"{len(flood)} bytes of the flood"
        assert lines == [f"line {n}" for n in range(1, len(lines) + 1)] and end == ""
        assert total == f"total {len(lines)}"
