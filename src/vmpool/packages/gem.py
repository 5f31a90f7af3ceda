"""The compact index of Ruby's gems, as `gem install` reads it.  Pure.

Its format is the compact index of the RubyGems guides, "RubyGems.org Compact Index API".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urljoin

from vmpool.packages.depot import Digest, Document
from vmpool.packages.listing import BadIndex, Listing, Source

NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
FULL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
"""A name, a version and perhaps a platform, joined by hyphens."""
VERSIONS: Final = b"created_at: 2000-01-01T00:00:00Z\n---\n"
"""What there is at `versions`, and at the top: `gem install` only looks whether it is there."""
MAX_SPLITS: Final = 4
_VERSION = re.compile(r"[0-9][0-9A-Za-z._-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def names_in(full_name: str) -> Iterator[str]:
    """What may be the gem's name: up to each hyphen before a digit, the first few."""
    found = [match.start() for match in re.finditer(r"-(?=[0-9])", full_name)]
    for at in found[:MAX_SPLITS]:
        yield full_name[:at]


def listing(name: str, document: Document, upstream: str) -> Listing:
    """A gem's page, as it is, and its files by full name.  upstream: where `gems/` is.  BadIndex."""
    try:
        lines = document.body.decode().splitlines()
    except UnicodeDecodeError as error:
        raise BadIndex("its index of gems cannot be read") from error
    sources: dict[str, Source] = {}
    for line in lines[lines.index("---") + 1 if "---" in lines else 0 :]:
        version, _, rest = line.partition(" ")
        said = dict(part.partition(":")[::2] for part in rest.rpartition("|")[2].split(","))
        digest = said.get("checksum", "")
        if not _VERSION.fullmatch(version) or not _SHA256.fullmatch(digest):
            raise BadIndex("its index of gems cannot be read")
        full_name = f"{name}-{version}"
        sources[full_name] = Source(urljoin(upstream, f"gems/{full_name}.gem"), Digest("sha256", digest))
    return Listing(document.body, sources)
