"""Templates of users."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import Answer, Id, Request, ShortText
from vmpool.domain.template import LONGEST_DESCRIPTION

TemplateName = Annotated[
    ShortText, Field(json_schema_extra={"pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"})
]
"""1 to 63 of `[a-z0-9._-]`, not all digits: the pool checks it, with a message for people."""
Description = Annotated[str, StringConstraints(max_length=LONGEST_DESCRIPTION)]


class CreateTemplate(Request):
    """Body of `POST /api/templates`: exactly one of `vm_id` and `snapshot_id`."""

    name: TemplateName = Field(
        description="Unique among your templates, and none of a built-in one.", examples=["with-numpy"]
    )
    vm_id: Annotated[str, StringConstraints(min_length=1, max_length=63)] | Id | None = Field(
        default=None, description="Of the files of this VM as they are now: its id or its name."
    )
    snapshot_id: Id | None = Field(default=None, description="Of what this snapshot of one of your VMs kept.")
    description: Description = ""


class ChangeTemplate(Request):
    """Body of `PATCH /api/templates/{template_id}`: what is left out stays as it is."""

    description: Description | None = None
    shared: bool | None = Field(
        default=None, description="Whether everybody may make VMs from it; an administrator's choice."
    )


class Template(Answer):
    """Kept files that VMs start from."""

    id: int
    user_id: int
    name: str
    description: str
    language: str = Field(description="Of VMs whose request names none.")
    base: str = Field(description="The built-in template it stands on.")
    parent: str = Field(description="The template it was made from, by the name it had.")
    parent_id: int | None = Field(description="Its id, where it is a user's; it may be gone by now.")
    backend: str
    disk: int = Field(description="MB of disk that VMs from it have at least.")
    size: int = Field(description="Bytes its files take.")
    shared: bool
    created_at: datetime
