"""Links to ports of VMs: made, believed and revoked.

A link is worth what its signature is; nothing is stored for it.  What is stored is the key they are signed
with and how often those to a port have been revoked, in one file of the state directory.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import anyio
from anyio import to_thread

from vmpool.domain import VM
from vmpool.domain.share import Share, SharedPort, label, named, read, signed
from vmpool.pool.registry import Registry
from vmpool.store.statedir import write_private

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is made.  label: of its host.  token: what makes it work.  expires_at: naive UTC."""

    vm_id: int
    port: int
    label: str
    token: str
    expires_at: datetime


class Shares:
    """One pool's.  revoked: how often, by VM and port; what was never revoked is not in it."""

    def __init__(
        self,
        path: Path,
        key: bytes,
        revoked: dict[tuple[int, int], int],
        registry: Registry,
        clock: Callable[[], datetime],
    ) -> None:
        self._path = path
        self._key = key
        self._revoked = revoked
        self._registry = registry
        self._clock = clock
        self._writing = anyio.Lock()

    @classmethod
    async def open(cls, path: Path, registry: Registry, clock: Callable[[], datetime]) -> Self:
        """Those of this file, which is made, readable by its owner only, where there is none."""
        found = await to_thread.run_sync(_read, path)
        if found is None:
            shares = cls(path, secrets.token_bytes(KEY_BYTES), {}, registry, clock)
            await shares._write()
            return shares
        return cls(path, *found, registry, clock)

    def make(self, vm: VM, port: int, seconds: int) -> Link:
        """A link that works for so long."""
        of = SharedPort.of(vm.id, vm.created_at, port)
        expires_at = self._clock().replace(microsecond=0) + timedelta(seconds=seconds)
        expires = int(expires_at.replace(tzinfo=UTC).timestamp())
        token = signed(self._key, Share(of, self._epoch(of), expires))
        return Link(vm.id, port, label(self._key, of), token, expires_at)

    async def revoke(self, vm: VM, port: int) -> None:
        """No link to this port that was made so far works any more."""
        of = SharedPort.of(vm.id, vm.created_at, port)
        self._revoked[vm.id, port] = self._epoch(of) + 1
        await self._write()

    def visited(self, host: str, token: str) -> tuple[VM, int] | None:
        """The VM and the port that a token opens at this label's host; None, whatever is wrong."""
        share = read(self._key, token)
        where = named(host)
        if share is None or where != (share.of.vm_id, share.of.port):
            return None
        vm = self._registry.get(share.of.vm_id)
        if vm is None or SharedPort.of(vm.id, vm.created_at, share.of.port) != share.of:
            return None
        if not hmac.compare_digest(host, label(self._key, share.of)):
            return None
        now = self._clock().replace(tzinfo=UTC).timestamp()
        return (vm, share.of.port) if share.epoch == self._epoch(share.of) and now < share.expires else None

    def _epoch(self, of: SharedPort) -> int:
        return self._revoked.get((of.vm_id, of.port), 0)

    async def _write(self) -> None:
        async with self._writing:
            for vm_id, port in list(self._revoked):
                if self._registry.get(vm_id) is None:  # its links end with it
                    del self._revoked[vm_id, port]
            revoked = {f"{vm_id}/{port}": count for (vm_id, port), count in self._revoked.items()}
            content = json.dumps({"key": self._key.hex(), "revoked": revoked})
            await to_thread.run_sync(write_private, self._path, content)


def _read(path: Path) -> tuple[bytes, dict[tuple[int, int], int]] | None:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    revoked = {}
    for name, count in said["revoked"].items():
        vm_id, _, port = name.partition("/")
        revoked[int(vm_id), int(port)] = int(count)
    return bytes.fromhex(said["key"]), revoked
