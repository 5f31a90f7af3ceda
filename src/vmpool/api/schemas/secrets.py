"""Secrets: their names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import Answer, Request
from vmpool.domain.secret import LONGEST, SHORTEST


class SetSecret(Request):
    """Body of `PUT /api/secrets/{name}`."""

    value: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)] = Field(
        description=f"{SHORTEST} to {LONGEST} bytes of text.", examples=["correct horse"]
    )


class Secret(Answer):
    """A secret without its value, which no answer has."""

    id: int
    name: str
    vm_id: int | None = Field(description="For executions in this VM only; null: in all of yours.")
    created_at: datetime
    updated_at: datetime
