"""How fast may be asked: 429 with Retry-After past it, for a user and for an address without a valid key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from vmpool.api.auth import Authenticator, Rates, network_of
from vmpool.api.services import Services
from vmpool.domain.rate import Rate
from vmpool.errors import RateLimited, Unauthenticated
from vmpool.settings import RateSettings, Settings

from .caller import Caller, problem

pytestmark = pytest.mark.anyio
With = Callable[[str | None], Caller]

SLOW = 0.001
"""A second refills nothing of such a bucket, however slow the machine is that tests."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        backend="fake",
        rates=RateSettings(requests=SLOW, requests_burst=5, failures=SLOW, failures_burst=3),
    )


@asynccontextmanager
async def calling(app: ASGIApp, address: str, key: str | None = None) -> AsyncIterator[Caller]:
    """Somebody who calls from an address."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app, client=(address, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://pool", headers=headers) as client:
        yield Caller(client)


async def test_a_user_has_one_bucket_whatever_their_keys(owner: Caller, caller_with: With) -> None:
    made = await owner.ok("POST", "/api/users", {"name": "ada"}, status=201)
    ada = caller_with(made["key"]["key"])
    key = await ada.ok("POST", "/api/keys", status=201)
    second = caller_with(key["key"])
    for caller in (ada, second, ada, second):
        await caller.ok("GET", "/api/vms")
    for caller in (ada, second):
        answer = await caller.call("GET", "/api/vms")
        found = problem(answer, 429, "rate_limited")
        assert found.retryable
        assert int(answer.headers["retry-after"]) > 100
    await owner.ok("GET", "/api/vms")


async def test_the_way_past_the_framework_counts_too(owner: Caller) -> None:
    await owner.create("box")
    for _ in range(4):
        await owner.execute("box")
    answer = await owner.call("POST", "/api/vms/box/execute", {"code": "1"})
    problem(answer, 429, "rate_limited")


async def test_what_is_open_is_not_counted(nobody: Caller) -> None:
    for _ in range(10):
        await nobody.ok("GET", "/health")


async def test_wrong_keys_are_counted_by_address(services: Services, app: ASGIApp) -> None:
    user = await services.store.users.create("ada")
    _, good = await services.store.keys.create(user.id, "k")
    async with (
        calling(app, "192.0.2.1") as guessing,
        calling(app, "192.0.2.1", good) as beside,
        calling(app, "192.0.2.2") as elsewhere,
    ):
        for _ in range(3):
            problem(await guessing.call("GET", "/api/vms"), 401, "unauthenticated")
        for _ in range(3):
            answer = await guessing.call("GET", "/api/vms")
            problem(answer, 429, "rate_limited")
            assert int(answer.headers["retry-after"]) > 100
        # Who has a key is not locked out by somebody else behind the same address.
        await beside.ok("GET", "/api/vms")
        problem(await elsewhere.call("GET", "/api/vms"), 401, "unauthenticated")
    kept = await services.store.audit.list(limit=100)
    assert sorted(str(entry.act.address) for entry in kept) == [*["192.0.2.1"] * 3, "192.0.2.2"]


async def test_a_disabled_user_is_counted_by_address_and_named(services: Services, app: ASGIApp) -> None:
    user = await services.store.users.create("ada")
    key, secret = await services.store.keys.create(user.id, "k")
    await services.store.users.change(user.id, disabled=True)
    async with calling(app, "192.0.2.1", secret) as disabled:
        for _ in range(3):
            problem(await disabled.call("GET", "/api/vms"), 403, "user_disabled")
        for _ in range(3):
            problem(await disabled.call("POST", "/api/vms/box/execute", {"code": "1"}), 429, "rate_limited")
    kept = await services.store.audit.list(limit=100)
    assert [(entry.user, entry.act.key_id, entry.act.status) for entry in kept] == [("ada", key.id, 403)] * 3


async def test_what_is_remembered_of_callers_is_bounded(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmpool.api.auth.MAX_REMEMBERED", 8)
    authenticate = Authenticator(services.store.keys, rates=Rates(failures=Rate(SLOW, 1)))
    for n in range(100):
        with pytest.raises(Unauthenticated):
            await authenticate(None, f"192.0.2.{n}")
    assert len(authenticate._of_addresses) == 8
    with pytest.raises(RateLimited):
        await authenticate(None, "192.0.2.99")


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_who_is_one_sender(address: str, counted_as: str) -> None:
    assert network_of(address) == counted_as
