"""Package documents of npm's registry, as `npm install` reads them.  Pure.

What it needs is https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from vmpool.packages.depot import Digest, Document
from vmpool.packages.listing import BadIndex, Listing, Source

ACCEPT: Final = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8"
CONTENT_TYPE: Final = "application/vnd.npm.install-v1+json"
NAME = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-zA-Z0-9~-][a-zA-Z0-9._~-]*")


def listing(name: str, document: Document, prefix: str) -> Listing:
    """A package's document and files; versions whose hash is not said are left out.  BadIndex.

    prefix: the URL that the package's files lie under here, with a slash at its end.
    """
    try:
        found = json.loads(document.body)
        sources: dict[str, Source] = {}
        kept: dict[str, Any] = {}
        for version, about in found["versions"].items():
            file = f"{name.rpartition('/')[2]}-{version}.tgz"
            source = _source(about["dist"], document.url)
            if source is not None and "/" not in file:
                sources[file] = source
                about["dist"]["tarball"] = prefix + file
                kept[version] = about
        found["versions"] = kept
        found["dist-tags"] = {tag: of for tag, of in found.get("dist-tags", {}).items() if of in kept}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadIndex(f"its document of a package of npm cannot be read ({type(error).__name__})") from error
    return Listing(json.dumps(found, separators=(",", ":")).encode(), sources)


def _source(dist: dict[str, Any], base: str) -> Source | None:
    url = urljoin(base, str(dist["tarball"]))
    digest = Digest.of_integrity(str(dist.get("integrity", "")))
    if digest is None or urlsplit(url).scheme not in ("http", "https"):
        return None
    return Source(url, digest)
