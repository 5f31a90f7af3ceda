"""The architecture page shows the states as the code has them."""

from __future__ import annotations

import os
from pathlib import Path

from vmpool.domain import ARROWS

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
BEGIN = "<!-- states: rendered from vmpool.domain.vm by tests/unit/test_architecture.py -->\n"
END = "<!-- end of states -->"


def test_states_on_the_page() -> None:
    """`VMPOOL_BLESS=1` rewrites the table."""
    rows = [
        f"| `{state}` | {', '.join(f'`{to}`' for to in sorted(arrows)) or 'nothing'} |\n"
        for state, arrows in ARROWS.items()
    ]
    rendered = "| from | to |\n|---|---|\n" + "".join(rows)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("VMPOOL_BLESS") == "1":
        PAGE.write_text(f"{before}{BEGIN}{rendered}{END}{after}")
    else:
        assert shown == rendered
