"""Each program of the tables: what must come of it, and that nobody else is hurt."""

from __future__ import annotations

import pytest

from tests.conformance.abuse.arena import Arena, carry_out
from tests.conformance.abuse.families import PROGRAMS
from tests.conformance.abuse.table import Abuse
from tests.conformance.backends import Power

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.requires(Power.REAL_PROGRAMS),
]


@pytest.mark.parametrize("abuse", [pytest.param(abuse, id=abuse.name) for abuse in PROGRAMS])
async def test_abuse(arena: Arena, abuse: Abuse) -> None:
    await carry_out(arena, abuse)
