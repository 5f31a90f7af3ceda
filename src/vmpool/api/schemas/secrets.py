"""Secrets: their names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import Answer, Request
from vmpool.domain.secret import LONGEST, MAX_HOSTS, SHORTEST


class SetSecret(Request):
    """Body of `PUT /api/secrets/{name}`."""

    value: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)] = Field(
        description=f"{SHORTEST} to {LONGEST} bytes of text.", examples=["correct horse"]
    )

    hosts: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=300)]], Field(max_length=MAX_HOSTS)
    ] = Field(
        default=[],
        description="It never enters a VM: `{{NAME}}` in headers of plain HTTP requests that a filtered VM"
        " sends to one of these hosts (`:port` or not) is replaced on the way.",
    )


class Secret(Answer):
    """A secret without its value, which no answer has."""

    id: int
    name: str
    vm_id: int | None = Field(description="For executions in this VM only; null: in all of yours.")
    hosts: list[str] = Field(description="Put into requests to these, never given to executions.")
    created_at: datetime
    updated_at: datetime
