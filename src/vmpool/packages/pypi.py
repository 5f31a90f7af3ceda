"""Index pages of Python packages (PEP 503, 658, 691, 700): read in both forms, written as HTML.  Pure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from vmpool.packages.depot import Digest, Document
from vmpool.packages.listing import BadIndex, Listing, Source
from vmpool.packages.wheels import Interpreter

ACCEPT: Final = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
"""A project's name as PEP 503 normalizes it."""
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_HASH = re.compile(r"(sha256|sha384|sha512)=([0-9a-f]{64,128})")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a project.  url: upstream.  yanked: why, "" for no reason given, None: it is not.

    metadata: its core metadata may be had beside it (PEP 658); None where the hash of it is not said.
    """

    name: str
    url: str
    digest: Digest
    requires_python: str | None = None
    yanked: str | None = None
    metadata: Digest | None = None


def normalized(name: str) -> str:
    """A project's name as all registries know it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def listing(project: str, page: Document, prefix: str, reader: Interpreter | None = None) -> Listing:
    """A project's page and files; those whose hash is not said are left out.  BadIndex.

    prefix: the path that the project's files lie under here, with a slash at its end.  reader: who reads the
    page, and need not see what it cannot install.
    """
    files = _by_name(_from_json(page) if "json" in page.content_type else _from_html(page))
    sources = {file.name: Source(file.url, file.digest) for file in files.values()}
    for file in files.values():
        if file.metadata is not None:
            sources[f"{file.name}.metadata"] = Source(f"{file.url}.metadata", file.metadata)
    seen = [file for file in files.values() if reader is None or reader.may_install(file.name)]
    return Listing(_rendered(project, seen, prefix), sources)


def _rendered(project: str, files: Iterable[File], prefix: str) -> bytes:
    lines = ["<!DOCTYPE html><html><head>", '<meta name="pypi:repository-version" content="1.0">']
    lines.append(f"<title>{html.escape(project)}</title></head><body>")
    for file in files:
        said = [f'href="{prefix}{html.escape(file.name)}#{file.digest.algorithm}={file.digest.value}"']
        if file.requires_python:
            said.append(f'data-requires-python="{html.escape(file.requires_python)}"')
        if file.yanked is not None:
            said.append(f'data-yanked="{html.escape(file.yanked)}"')
        if file.metadata is not None:
            hashed = f"{file.metadata.algorithm}={file.metadata.value}"
            said += [f'data-core-metadata="{hashed}"', f'data-dist-info-metadata="{hashed}"']
        lines.append(f"<a {' '.join(said)}>{html.escape(file.name)}</a><br>")
    lines.append("</body></html>\n")
    return "\n".join(lines).encode()


def _by_name(files: list[File]) -> dict[str, File]:
    return {
        file.name: file
        for file in files
        if FILE_NAME.fullmatch(file.name) and urlsplit(file.url).scheme in ("http", "https")
    }


def _from_json(page: Document) -> list[File]:
    try:
        entries = json.loads(page.body)["files"]
        return [file for entry in entries if (file := _of_entry(entry, page.url)) is not None]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadIndex(f"its index of Python packages cannot be read ({type(error).__name__})") from error


def _of_entry(entry: Mapping[str, Any], base: str) -> File | None:
    digest = _strongest(entry["hashes"])
    if digest is None:
        return None
    yanked = entry.get("yanked", False)
    metadata = entry.get("core-metadata", entry.get("dist-info-metadata"))
    return File(
        name=str(entry["filename"]),
        url=urljoin(base, str(entry["url"])),
        digest=digest,
        requires_python=entry.get("requires-python"),
        yanked=None if yanked is False else "" if yanked is True else str(yanked),
        metadata=_strongest(metadata) if isinstance(metadata, dict) else None,
    )


def _strongest(hashes: Mapping[str, str]) -> Digest | None:
    for algorithm in ("sha256", "sha512", "sha384"):
        if algorithm in hashes:
            return Digest(algorithm, str(hashes[algorithm]).lower())
    return None


def _from_html(page: Document) -> list[File]:
    anchors = _Anchors()
    anchors.feed(page.body.decode("utf-8", "replace"))
    anchors.close()
    base = urljoin(page.url, anchors.base or "")
    return [file for said in anchors.found if (file := _of_anchor(said, base)) is not None]


def _of_anchor(said: Mapping[str, str | None], base: str) -> File | None:
    url, fragment = urldefrag(urljoin(base, said.get("href") or ""))
    digest = _hash_in(fragment)
    if digest is None:
        return None
    metadata = said.get("data-core-metadata") or said.get("data-dist-info-metadata")
    return File(
        name=unquote(urlsplit(url).path.rpartition("/")[2]),
        url=url,
        digest=digest,
        requires_python=said.get("data-requires-python"),
        yanked=(said["data-yanked"] or "") if "data-yanked" in said else None,
        metadata=_hash_in(metadata or ""),
    )


def _hash_in(text: str) -> Digest | None:
    found = _HASH.search(text)
    return None if found is None else Digest(found[1], found[2])


class _Anchors(HTMLParser):
    """Collects the attributes of every link."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for each tag."""
        if tag == "a":
            self.found.append(dict(attrs))
        elif tag == "base" and self.base is None:
            self.base = dict(attrs).get("href")
