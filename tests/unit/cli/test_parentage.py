"""What was made from what, as lines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from vmpool.cli.templates import parentage
from vmpool.client.models import VM, Template

WHEN = datetime(2026, 1, 1)


def template(number: int, name: str, parent: str = "python", parent_id: int | None = None) -> Template:
    return Template(
        id=number,
        user_id=1,
        name=name,
        description="",
        language="python",
        base="python",
        parent=parent,
        parent_id=parent_id,
        backend="fake",
        disk=64,
        size=0,
        shared=False,
        created_at=WHEN,
    )


def vm(number: int, name: str, made_from: str = "python", template_id: int | None = None) -> VM:
    nothing: dict[str, Any] = dict.fromkeys(VM.model_fields)
    given = {"id": number, "name": name, "template": made_from, "template_id": template_id}
    return VM.model_construct(**{**nothing, **given})


def test_each_stands_below_what_it_was_made_from() -> None:
    templates = [template(3, "third", "second", 2), template(2, "second", "first", 1), template(1, "first")]
    vms = [vm(2, "fresh", "second", 2), vm(1, "plain", "nodejs")]
    assert list(parentage(templates, vms)) == [
        (0, "builtin", "nodejs"),
        (1, "VM", "plain"),
        (0, "builtin", "python"),
        (1, "template", "first"),
        (2, "template", "second"),
        (3, "template", "third"),
        (3, "VM", "fresh"),
    ]


def test_what_came_of_one_that_is_gone_is_still_there() -> None:
    assert list(parentage([template(2, "second", "first", 1)], [vm(1, "fresh", "first", 1)])) == [
        (0, "deleted template", "first"),
        (1, "template", "second"),
        (1, "VM", "fresh"),
    ]


def test_nothing_is_nothing() -> None:
    assert list(parentage([], [])) == []
