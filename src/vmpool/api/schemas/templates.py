"""Templates of users."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from vmpool.api.schemas.base import LARGEST, MAX_CORES, Answer, Id, Request, ShortText
from vmpool.api.schemas.network import NetworkPolicy
from vmpool.api.schemas.template_builds import BuildStep
from vmpool.api.schemas.vms import CreateVM, Mode
from vmpool.domain.template import LONGEST_DESCRIPTION
from vmpool.domain.template_build import MAX_STEPS

TemplateName = Annotated[
    ShortText, Field(json_schema_extra={"pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"})
]
"""1 to 63 of `[a-z0-9._-]`, not all digits: the pool checks it, with a message for people."""
Description = Annotated[str, StringConstraints(max_length=LONGEST_DESCRIPTION)]


class CreateTemplate(Request):
    """Body of `POST /api/templates`: exactly one of `vm_id`, `snapshot_id` and `steps`."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    name: TemplateName = Field(
        description="Unique among your templates, and none of a built-in one.", examples=["with-numpy"]
    )
    vm_id: Annotated[str, StringConstraints(min_length=1, max_length=63)] | Id | None = Field(
        default=None, description="Of the files of this VM as they are now: its id or its name."
    )
    snapshot_id: Id | None = Field(default=None, description="Of what this snapshot of one of your VMs kept.")
    description: Description = ""
    base: ShortText | None = Field(
        default=None, alias="from", description="With `steps`: the template it begins with, by id or name."
    )
    steps: Annotated[list[BuildStep], Field(min_length=1, max_length=MAX_STEPS)] | None = Field(
        default=None, description="It is built in a VM of its own, which counts as any of yours."
    )
    language: ShortText | None = Field(default=None, description="With `steps`. Default: that of `from`.")
    replace: bool = Field(
        default=False, description="With `steps`: your template of this name makes way once this is ready."
    )
    fresh: bool = Field(
        default=False, description="With `steps`: do all of them, whatever is kept of earlier builds."
    )
    cpu_limit: float | None = Field(
        default=None, gt=0, le=MAX_CORES, allow_inf_nan=False, description="With `steps`: as of a VM."
    )
    memory_limit: int | None = Field(default=None, gt=0, le=LARGEST, description="With `steps`: as of a VM.")
    disk_limit: int | None = Field(default=None, gt=0, le=LARGEST, description="With `steps`: as of a VM.")
    network: Mode | None = Field(default=None, description="With `steps`: as of a VM.")
    network_policy: NetworkPolicy = Field(default_factory=NetworkPolicy, description="As of a VM.")

    def vm(self) -> CreateVM:
        """The VM it is built in, as one that is asked for."""
        return CreateVM(
            name="build",
            language=self.language,
            cpu_limit=self.cpu_limit,
            memory_limit=self.memory_limit,
            disk_limit=self.disk_limit,
            network=self.network,
            network_policy=self.network_policy,
        )


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
