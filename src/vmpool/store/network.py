"""What VMs have reached and what they were refused: added in batches, pruned by age and by count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from vmpool.domain import NetworkEntry, NetworkVerdict
from vmpool.store.database import Database
from vmpool.store.models import NetworkLogRow, VirtualMachine


class NetworkLog:
    """The table `network_log`, and the bytes each VM has used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(
        self, entries: Mapping[int, Sequence[NetworkEntry]], bytes_used: Mapping[int, int], keep: int
    ) -> None:
        """Add entries by VM and set what VMs have used, all at once.  keep: entries of one VM."""
        rows = [
            {**asdict(entry), "vm_id": vm_id, "verdict": entry.verdict.value}
            for vm_id, of_vm in entries.items()
            for entry in of_vm[-keep:]
        ]
        for row in rows:
            del row["id"]

        def work(connection: Connection) -> None:
            if rows:
                connection.execute(insert(NetworkLogRow), rows)
            for vm_id in entries:
                _shorten(connection, vm_id, keep)
            for vm_id, used in bytes_used.items():
                connection.execute(
                    update(VirtualMachine).where(VirtualMachine.id == vm_id).values(network_bytes=used)
                )

        await self._database.write(work)

    async def list(
        self, vm_id: int, *, limit: int | None = None, before_id: int | None = None
    ) -> list[NetworkEntry]:
        """The VM's entries, newest first.  before_id: only those older than this one."""
        statement = select(NetworkLogRow).where(NetworkLogRow.vm_id == vm_id)
        if before_id is not None:
            statement = statement.where(NetworkLogRow.id < before_id)
        statement = statement.order_by(NetworkLogRow.id.desc()).limit(limit)
        return await self._database.read(
            lambda connection: [_entry(row) for row in connection.execute(statement)]
        )

    async def prune(self, older_than: datetime) -> int:
        """Remove entries from before then; how many."""
        statement = delete(NetworkLogRow).where(NetworkLogRow.at < older_than)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _shorten(connection: Connection, vm_id: int, keep: int) -> None:
    """Remove all but the newest `keep` entries of a VM."""
    of_vm = NetworkLogRow.vm_id == vm_id
    oldest = connection.scalar(
        select(NetworkLogRow.id).where(of_vm).order_by(NetworkLogRow.id.desc()).offset(keep).limit(1)
    )
    if oldest is not None:
        connection.execute(delete(NetworkLogRow).where(of_vm, NetworkLogRow.id <= oldest))


def _entry(row: Row[Any]) -> NetworkEntry:
    return NetworkEntry(
        id=row.id,
        at=row.at,
        via=row.via,
        host=row.host,
        port=row.port,
        verdict=NetworkVerdict(row.verdict),
        rule=row.rule,
        address=row.address,
        bytes_up=row.bytes_up,
        bytes_down=row.bytes_down,
        seconds=row.seconds,
        skipped=row.skipped,
    )
