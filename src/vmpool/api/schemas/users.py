"""Users and their API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import LARGEST, Answer, Request, ShortText


class CreateUser(Request):
    """Body of `POST /api/users`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._@-]*$", max_length=128)]
    admin: bool = False


class CreateKey(Request):
    """Body of `POST /api/keys`; may be left out."""

    name: ShortText = Field(default="key", description="A note on what it is for.")
    ttl: int | None = Field(
        default=None, gt=0, le=LARGEST, description="Seconds after which it stops working."
    )


class APIKey(Answer):
    """An API key without its secret."""

    id: int
    user_id: int
    name: str
    prefix: str = Field(description="How the secret begins, to recognise it by.")
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


class NewUser(User):
    """A user as they are made, with their first key."""

    key: NewAPIKey
