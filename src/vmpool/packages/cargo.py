"""The sparse index of Rust's crates, as cargo reads it.  Pure.

Its format is https://doc.rust-lang.org/cargo/reference/registry-index.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from vmpool.packages.depot import Digest, Document
from vmpool.packages.listing import BadIndex, Listing, Source

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MARKERS = re.compile(r"\{(crate|version|prefix|lowerprefix|sha256-checksum)\}")


def prefix(name: str) -> str:
    """The directory of the index that a crate's page lies in."""
    if len(name) < 3:
        return str(len(name))
    return f"3/{name[0]}" if len(name) == 3 else f"{name[:2]}/{name[2:4]}"


def config(here: str) -> bytes:
    """What the index says of itself.  here: the URL that crates lie under."""
    return json.dumps({"dl": here}).encode()


def downloads(document: Document) -> str:
    """Where the registry behind says that crates lie, with markers; BadIndex."""
    try:
        found = str(json.loads(document.body)["dl"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadIndex("its index of crates does not say where they lie") from error
    if urlsplit(found).scheme not in ("http", "https"):
        raise BadIndex("its index of crates says that they lie at no URL")
    return found if _MARKERS.search(found) else f"{found}/{{crate}}/{{version}}/download"


def listing(name: str, document: Document, template: str) -> Listing:
    """A crate's page, as it is, and its files by version.  template: as `downloads` gives it.  BadIndex."""
    sources: dict[str, Source] = {}
    try:
        for line in document.body.splitlines():
            if line.strip():
                about = json.loads(line)
                own, version, digest = str(about["name"]), str(about["vers"]), str(about["cksum"])
                if not NAME.fullmatch(own) or own.lower() != name or not _SHA256.fullmatch(digest):
                    raise ValueError
                url = _filled(template, own, version, digest)
                sources[version] = Source(url, Digest("sha256", digest))
    except (ValueError, KeyError, TypeError) as error:
        raise BadIndex(f"its index of crates cannot be read ({type(error).__name__})") from error
    return Listing(document.body, sources)


def _filled(template: str, name: str, version: str, digest: str) -> str:
    meant: Mapping[str, str] = {
        "crate": name,
        "version": version,
        "prefix": prefix(name),
        "lowerprefix": prefix(name.lower()),
        "sha256-checksum": digest,
    }
    return _MARKERS.sub(lambda found: meant[found[1]], template)
