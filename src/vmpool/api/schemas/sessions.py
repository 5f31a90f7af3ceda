"""A browser's session."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from vmpool.api.schemas.base import Answer
from vmpool.domain import Scope


class Session(Answer):
    """Who is signed in, and what they may do."""

    user_id: int
    user_name: str
    admin: bool
    scopes: list[Scope]
    expires_at: datetime | None = Field(
        description="When the browser has to sign in again; null: asked with a key, not in a session."
    )
