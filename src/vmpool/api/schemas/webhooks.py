"""Webhooks: where events are sent."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import Answer, Request
from vmpool.domain.event import FAMILIES, KINDS
from vmpool.domain.webhook import LONGEST_URL, Stage

URL = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_URL), Field(examples=["https://example.org/hook"])
]
Types = Annotated[
    list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=len(KINDS) + len(FAMILIES))
]


class CreateWebhook(Request):
    """Body of `POST /api/webhooks`."""

    url: URL = Field(description="Where to POST events: http or https, at a public address.")
    types: Types = Field(
        default=[],
        description="Types of events, or families of them (`vm`); default: all.",
        examples=[["vm"]],
    )


class UpdateWebhook(Request):
    """Body of `PATCH /api/webhooks/{webhook_id}`: what is left out stays."""

    url: URL | None = None
    types: Types | None = None
    enabled: bool | None = Field(
        default=None, description="Enabled again, it is sent what happens from then on."
    )


class Webhook(Answer):
    """Where events are sent."""

    id: int
    url: str
    types: list[str] = Field(description="Types of events, or families of them; none: all.")
    enabled: bool
    created_at: datetime
    failing_since: datetime | None = Field(description="Nothing has arrived there since.")
    disabled_because: str | None = Field(description="Why it is sent nothing.")


class NewWebhook(Webhook):
    """A webhook with its secret."""

    secret: str = Field(description="What signatures are made with; in this answer only.")


class Delivery(Answer):
    """One try to send something to a webhook."""

    id: int
    webhook_id: int
    event_id: int | None = Field(description="Null for a test.")
    type: str
    attempt: int = Field(description="Counted from 1.")
    stage: Stage = Field(description="delivered; retrying: it is tried again; failed: given up.")
    time: datetime
    seconds: float
    status: int | None = Field(description="The answer's; null where none came.")
    problem: str | None
