"""The page on security shows the abuse programs as the suite runs them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.conformance.abuse.families import ENTRIES, FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN = "<!-- abuse: rendered from tests/conformance/abuse by tests/unit/test_security_page.py -->\n"
END = "<!-- end of abuse -->"
HEAD = "| program | what it tries | must end so | held by |\n|---|---|---|---|\n"
WANTED = 60
"""Mechanisms that are tried at least."""


def rendered() -> str:
    """A table for each family."""
    parts = [f"{len(ENTRIES)} programs and traps.\n"]
    for family in FAMILIES:
        parts.append(f"\n### {family.title}\n\n{HEAD}")
        parts += [
            f"| `{entry.name}` | {entry.tries} | {entry.must.value} | {entry.held_by.rendered()} |\n"
            for entry in family.programs
        ]
    return "".join(parts)


def test_the_page_of_abuse_programs() -> None:
    """`VMPOOL_BLESS=1` rewrites the tables."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("VMPOOL_BLESS") == "1":
        PAGE.write_text(f"{before}{BEGIN}{rendered()}{END}{after}")
    else:
        assert shown == rendered()


def test_each_is_told_from_the_others_and_says_what_holds_it() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES) >= WANTED
    for entry in ENTRIES:
        assert entry.held_by.rendered(), entry.name
        assert "|" not in entry.tries + entry.held_by.rendered(), entry.name
