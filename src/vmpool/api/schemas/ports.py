"""Links to ports of VMs."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from vmpool.api.schemas.base import LARGEST, Answer, Request

DEFAULT_SHARE_SECONDS = 3600


class SharePort(Request):
    """Body of `POST /api/vms/{vm_id}/shares/{port}`; may be left out."""

    expires_in: int = Field(
        default=DEFAULT_SHARE_SECONDS,
        ge=1,
        le=LARGEST,
        description="Seconds for which the link works; the server has a limit (30 days by default).",
    )


class Share(Answer):
    """A link: whoever has it reaches this port of this VM."""

    vm_id: int
    port: int
    url: str = Field(description="It cannot be asked for again.")
    expires_at: datetime
