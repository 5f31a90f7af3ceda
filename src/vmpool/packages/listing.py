"""What an index of packages says of one of them, whichever ecosystem's it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmpool.packages.depot import Digest


class BadIndex(Exception):
    """What upstream sent is no index; the message is a clause."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file is fetched from, and what it must hash to."""

    url: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Listing:
    """page: as a VM reads it.  files: those it names, by the names it gives them."""

    page: bytes
    files: Mapping[str, Source]
