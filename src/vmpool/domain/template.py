"""Kept files that VMs start from: what a user's template is.  Pure values."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vmpool.domain.language import LANGUAGES
from vmpool.errors import InvalidRequest

LONGEST_DESCRIPTION = 1000
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


class TemplateState(StrEnum):
    """Stored in `templates.state`."""

    PENDING = "pending"  # announced; its files may or may not be kept
    READY = "ready"  # VMs can be made from it


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """A template that is to be announced.

    base: the built-in template everything in it stands on, which the backend knows.  parent_id, parent: the
    template its files were made from, a built-in one without an id.  disk: MB of the disk its files were
    kept from.  build_id: the build it comes of.
    """

    user_id: int
    name: str
    description: str
    language: str
    base: str
    parent_id: int | None
    parent: str
    backend: str
    disk: int
    vm_id: int
    build_id: int | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """A user's template.  Fields as in `NewTemplate`.

    snapshot_id: where its files are.  size: bytes of them.  shared: everybody may make VMs from it.
    """

    id: int
    user_id: int
    name: str
    state: TemplateState
    description: str
    language: str
    base: str
    parent_id: int | None
    parent: str
    backend: str
    disk: int
    vm_id: int
    snapshot_id: int
    size: int
    shared: bool
    created_at: datetime
    build_id: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a VM comes from, as its row says it.

    template_id, made_from: the user's template, by id and by the name it had.  forked_from: the VM it is a
    copy of.  build_id: the build of a template it is for.
    """

    template_id: int | None = None
    made_from: str | None = None
    forked_from: int | None = None
    build_id: int | None = None


def check_template_name(name: str, present: Collection[str] = ()) -> None:
    """InvalidRequest unless it can be a template's name, and is none of a built-in one.

    present: the templates of this server's backend.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "name",
            f"'{name[:80]}' must be 1 to 63 of a-z, 0-9, '.', '_', '-', with a letter or digit at its ends",
        )
    if name.isdecimal():
        raise InvalidRequest("name", f"'{name}' must not be all digits: it would read as an id")
    if name in builtin_names() or name in present:
        raise InvalidRequest("name", f"'{name}' is a built-in template; take another name")


def builtin_names() -> frozenset[str]:
    """Names a built-in template has, or a language is known by."""
    return _BUILTIN


_BUILTIN = frozenset(LANGUAGES) | {alias for language in LANGUAGES.values() for alias in language.aliases}
