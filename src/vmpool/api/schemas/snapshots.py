"""Snapshots."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from vmpool.api.schemas.base import Answer, Id, Request, ShortText
from vmpool.pool.forks import MOST


class CreateSnapshot(Request):
    """Body of `POST /api/vms/{vm_id}/snapshot`; may be left out."""

    name: ShortText | None = Field(default=None, description="Default: made from the VM's name and the time.")


class Snapshot(Answer):
    """The files of a VM at one moment."""

    id: int
    vm_id: int
    name: str
    size: int = Field(description="Bytes.")
    created_at: datetime
    parent_id: int | None = Field(
        default=None, description="The snapshot it came after. None: the first, or one that came as a file."
    )
    backend: str = Field(default="", description="The backend that keeps it.")
    base: str = Field(default="", description="What it stands on: it is restored on the same only.")
    sealed: bool = Field(
        default=False, description="Whether its files are compared with what was kept before it is restored."
    )


class ForkRequest(Request):
    """Body of `POST /api/vms/{vm_id}/fork`; may be left out."""

    count: Annotated[int, Field(ge=1, le=MOST)] | None = Field(
        default=None, description="How many copies. Default: as many as `names`, or 1."
    )
    names: Annotated[list[ShortText], Field(min_length=1, max_length=MOST)] | None = Field(
        default=None, description="Default: the VM's own name with the next free numbers."
    )

    @property
    def number(self) -> int:
        """How many are asked for."""
        return self.count or (1 if self.names is None else len(self.names))


class RestoreRequest(Request):
    """Body of `POST /api/vms/{vm_id}/restore`."""

    snapshot_id: Id
