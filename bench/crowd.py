"""A host full of VMs, of several users at once: `python -m bench.crowd --vms 100 --users 10`.

Every user makes their VMs, all at the same time; each VM is used while all others are there, several times;
then they go.  What failed is counted.  The host then holds what it held before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from bench.rest import Address, Client, RequestFailed
from bench.server import Server, running_server
from bench.soak import Held, grown, rest

WIDTH = 16
"""Requests at once."""
MEMORY, DISK = 48, 16
"""MB of each VM."""
ROUNDS = 3
"""Times that each VM is used."""
SETTINGS = {"WARM_POOL__MAXIMUM": "0", "WARM__SPARES": "0", "PERIODS__RECONCILE_EVERY": "2"}
PROGRAMS = (
    ({"command": "cat /proc/sys/kernel/hostname >> rounds; sort -u rounds"}, "{name}\n"),
    ({"code": "print(open('rounds').read().split()[0], end='')"}, "{name}"),
)
"""What is run, and what it must print: a VM has its own files and nobody else's."""


@dataclass
class Crowd:
    """What became of it.  left: what the host holds more of than before.  seconds: of each part."""

    made: int = 0
    executions: int = 0
    failures: list[str] = field(default_factory=list)
    left: dict[str, tuple[int, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Member:
    """One VM and whose it is."""

    address: Address
    name: str


class _Counted:
    """Does things to all members at once and counts what fails."""

    def __init__(self, crowd: Crowd, threads: ThreadPoolExecutor) -> None:
        self._crowd, self._threads = crowd, threads

    def all(self, part: str, members: Iterable[Member], deed: Callable[[Member], None]) -> int:
        """How many of them it could be done to."""
        began = time.monotonic()
        done = list(self._threads.map(lambda member: self._one(member, deed), members))
        self._crowd.seconds[part] = self._crowd.seconds.get(part, 0) + time.monotonic() - began
        return sum(done)

    def _one(self, member: Member, deed: Callable[[Member], None]) -> bool:
        try:
            deed(member)
        except (RequestFailed, AssertionError, OSError) as error:
            self._crowd.failures.append(f"{member.name}: {error}")
            return False
        return True


def create(member: Member) -> None:
    body = {"name": member.name, "language": "python", "memory_limit": MEMORY, "disk_limit": DISK}
    with Client(member.address) as client:
        client.post("/api/vms/create", body)


def use(member: Member) -> None:
    with Client(member.address) as client:
        for program, wanted in PROGRAMS:
            done = client.post(f"/api/vms/{member.name}/execute", program)
            assert done["output"] == wanted.format(name=member.name), done


def delete(member: Member) -> None:
    with Client(member.address) as client:
        client.delete(f"/api/vms/{member.name}")


def members_of(server: Server, vms: int, users: int) -> list[Member]:
    """So many users, new ones, and the names of their VMs, one of each user's after the other."""
    found = []
    with Client(server.address) as owner:
        keys = [owner.post("/api/users", {"name": f"user{n}"})["key"]["key"] for n in range(users)]
    for number in range(vms):
        address = replace(server.address, key=keys[number % users])
        found.append(Member(address, f"vm-{number}"))
    return found


def crowded(backend: str, vms: int, users: int, rounds: int = ROUNDS) -> Crowd:
    """On a server of its own."""
    crowd = Crowd()
    with running_server(backend, SETTINGS) as server, ThreadPoolExecutor(WIDTH) as threads:
        counted = _Counted(crowd, threads)
        members = members_of(server, vms, users)
        for deed in (create, use, delete):  # what is made once is made now
            counted.all("first", members[:WIDTH], deed)
        before = rest(server, None)
        crowd.made = counted.all("create", members, create)
        for _ in range(rounds):
            crowd.executions += len(PROGRAMS) * counted.all("use", members, use)
        counted.all("delete", members, delete)
        crowd.left = _left(before, rest(server, before))
    return crowd


def _left(before: Held, after: Held) -> dict[str, tuple[int, int]]:
    """Memory aside: a server that had a hundred VMs keeps some for the next hundred."""
    return grown(before, replace(after, memory=before.memory))


def main() -> int:
    """Do it and say what came of it; 1 where something failed or was left."""
    parser = argparse.ArgumentParser(prog="python -m bench.crowd", description=__doc__)
    parser.add_argument("--vms", type=int, default=100)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--backend", default="bubblewrap")
    asked = parser.parse_args()
    crowd = crowded(asked.backend, asked.vms, asked.users)
    parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in crowd.seconds.items())
    print(f"{crowd.made} VMs of {asked.users} users, {crowd.executions} executions: {parts}")
    for failure in crowd.failures[:20]:
        print(f"failed: {failure}")
    for name, (before, after) in crowd.left.items():
        print(f"left: {name} went from {before} to {after}")
    print(f"{len(crowd.failures)} failures, {len(crowd.left)} kinds of things left")
    return 1 if crowd.failures or crowd.left else 0


if __name__ == "__main__":
    raise SystemExit(main())
