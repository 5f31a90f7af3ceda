"""Events: what changed, and when."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from vmpool.api.schemas.base import Answer


class Event(Answer):
    """A change of a VM, an execution or a snapshot."""

    id: int = Field(description="Greater than that of every event before it; not every number is given.")
    time: datetime
    type: str = Field(
        description="What changed, and to what. Further ones may come.",
        examples=["vm.running"],
    )
    vm_id: int | None
    execution_id: int | None
    snapshot_id: int | None
    facts: dict[str, object] = Field(
        description="Small things worth knowing without asking: `name`, `from` (the state before),"
        " `exit_code`, `failure`; never code or output."
    )
