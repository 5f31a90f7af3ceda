"""What a backup says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from vmpool.errors import InvalidRequest

NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """version: of vmpool.  created_at: RFC 3339.  vms, snapshots: how many are in it with their files.

    missing: one sentence for each thing a restored server will know of and not have.
    """

    format: int
    version: str
    created_at: str
    pool_id: str
    vms: int
    snapshots: int
    missing: tuple[str, ...]

    def write(self, directory: Path) -> None:
        """As a file of the backup."""
        (directory / NAME).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The inverse; InvalidRequest for another format."""
        try:
            fields = dict(json.loads((directory / NAME).read_text(encoding="utf-8")))
            if fields.get("format") != FORMAT:
                raise InvalidRequest("backup", "it was made by another version of vmpool; use that one")
            return cls(**{**fields, "missing": tuple(fields["missing"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidRequest("backup", f"its manifest cannot be read: {error}") from error
