"""Snapshots."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from vmpool.api.schemas.base import Answer, Id, Request, ShortText


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


class RestoreRequest(Request):
    """Body of `POST /api/vms/{vm_id}/restore`."""

    snapshot_id: Id
