"""What the wire models are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from vmpool.domain.packages import MAX_PACKAGE, MAX_PACKAGES

MAX_VARIABLES = 256
LARGEST = (1 << 31) - 1
"""Of whole numbers a VM is described by: what the database's columns take."""

LARGEST_ID = (1 << 63) - 1
"""Of what may be asked for by its id; larger than any that is given."""
MAX_CORES = 4096
"""Of what may be asked for; the server's own limit is lower."""

Id = Annotated[int, Field(ge=0, le=LARGEST_ID)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Variables = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=255)],
        Annotated[str, StringConstraints(max_length=128 << 10)],
    ],
    Field(max_length=MAX_VARIABLES),
]
"""Environment variables: name → value."""


Packages = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=MAX_PACKAGE)]],
    Field(max_length=MAX_PACKAGES),
]
"""Names of packages, each with a version if need be."""


class Request(BaseModel):
    """A request body: unknown fields are refused, and so is `true` or `"1"` for a number."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """An answer: fields may be added later."""

    # In answers every field is always there, those with a default too.
    model_config = ConfigDict(extra="ignore", json_schema_serialization_defaults_required=True)
