"""Users, their API keys, what they take of the pool and what they did."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import LARGEST, Answer, Request, ShortText
from vmpool.domain import Scope

LONGEST_OVERLAP = 7 * 86_400
USUAL_OVERLAP = 300

Quota = Annotated[int, Field(ge=0, le=LARGEST)]
Scopes = Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1, max_length=len(Scope))]


class CreateUser(Request):
    """Body of `POST /api/users`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._@-]*$", max_length=128)]
    admin: bool = False
    max_vms: Quota | None = Field(default=None, description="VMs at once. Default: the server's limit.")


class UpdateUser(Request):
    """Body of `PATCH /api/users/{user_id}`: what is left out stays."""

    admin: bool | None = Field(default=None, description="Whether they administer this server.")
    disabled: bool | None = Field(
        default=None,
        description="Whether their keys are refused. Disabling stops their VMs and keeps the files.",
    )
    max_vms: Quota | None = Field(default=None, description="VMs at once; null: the server's limit.")


class CreateKey(Request):
    """Body of `POST /api/keys`; may be left out."""

    name: ShortText = Field(default="key", description="A note on what it is for.")
    ttl: int | None = Field(
        default=None,
        gt=0,
        le=LARGEST,
        description="Seconds after which it stops working. It never outlives the key it was made with.",
    )
    scopes: Scopes | None = Field(
        default=None,
        description="What it may do, of what the key it is made with may. Default: all but `admin`.",
    )


class RotateKey(Request):
    """Body of `POST /api/keys/{key_id}/rotate`; may be left out."""

    overlap: int = Field(
        default=USUAL_OVERLAP,
        ge=0,
        le=LONGEST_OVERLAP,
        description="Seconds the old key goes on working; 0: none.",
    )


class APIKey(Answer):
    """An API key without its secret."""

    id: int
    user_id: int
    name: str
    prefix: str = Field(description="How the secret begins, to recognise it by.")
    scopes: list[Scope] = Field(
        description="What it may do; `admin` only while its user is an administrator."
    )
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewAPIKey(APIKey):
    """An API key as it is made: the only time its secret is shown."""

    key: str


class User(Answer):
    """A user of the pool."""

    id: int
    name: str
    admin: bool
    created_at: datetime
    disabled_at: datetime | None = Field(description="Since when their keys are refused; null: they are not.")
    max_vms: int | None = Field(description="VMs at once; null: the server's limit.")


class NewUser(User):
    """A user as they are made, with their first key."""

    key: NewAPIKey


class Use(Answer):
    """What a user takes of the pool."""

    user: User
    vms: int
    running: int = Field(description="Of `vms`, those that run.")
    cpu: float = Field(description="Sum of their VMs' CPU limits, in cores.")
    memory: int = Field(description="Sum of their VMs' memory limits, in MB.")
    disk: int = Field(description="Sum of their VMs' disk limits, in MB.")
    executions: int = Field(description="Executions in flight.")


class AuditEntry(Answer):
    """Something that was done, or refused."""

    id: int
    time: datetime
    user_id: int | None = Field(description="Who; null where no key proved it.")
    user: str | None = Field(description="Their name.")
    key_id: int | None = Field(description="With which of their keys.")
    address: str | None = Field(description="Where the request came from.")
    action: str = Field(description="The operation's id in this document, or `authenticate`.")
    target: str | None = Field(description="What it was done to.")
    facts: dict[str, object] = Field(description="What was changed to what; never code or secrets.")
    status: int = Field(description="The answer's.")
    request_id: str
