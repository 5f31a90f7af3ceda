"""Webhooks against receivers that listen here; the operator admits loopback, as nothing else would."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import anyio
import anyio.abc
import h11
import pytest

from vmpool.backends.fake import FakeBackend
from vmpool.domain.webhook import MAX_WEBHOOKS, Stage, secret_of
from vmpool.errors import Conflict, InvalidRequest, TooManyWebhooks, WebhookNotFound
from vmpool.network.rules import admissions
from vmpool.pool import webhooks as sending
from vmpool.pool.settings import WebhookSettings
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.store import utcnow

from .world import QUICK, World, eventually, vm_request

pytestmark = pytest.mark.anyio
ADMITTING = replace(QUICK, webhooks=WebhookSettings(admit=admissions("admit", ["127.0.0.1"]), timeout=2.0))


@dataclass
class Receiver:
    """What came.  answers: statuses to give, the last for ever; 0: close instead."""

    url: str
    answers: list[int] = field(default_factory=lambda: [204])
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            headers: dict[str, str] = {}
            body = b""
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive())
                elif isinstance(event, h11.Request):
                    headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
            self.came.append((headers, body))
            status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if status:
                location = [("location", self.url)] if 300 <= status < 400 else []
                head = h11.Response(status_code=status, headers=[*location, ("content-length", "0")])
                await stream.send(connection.send(head) or b"")

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.came]

    async def until(self, count: int) -> None:
        async def there() -> bool:
            return len(self.came) >= count

        await eventually(there, 10)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A server on loopback."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        receiver = Receiver(f"http://127.0.0.1:{port}/hook?of=mine")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, receiver.serve)
            yield receiver
            tasks.cancel_scope.cancel()


@pytest.fixture
async def receiver(anyio_backend: str) -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "RETRY_AFTER", (0.01, 0.01))
    monkeypatch.setattr(sending, "AGAIN", 0.05)


def verified(secret: str, headers: dict[str, str], body: bytes) -> Any:
    """The body as a receiver reads it that follows the Standard Webhooks specification by the letter."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"].split(" ") == [f"v1,{expected}"]
    return json.loads(body)


async def test_events_arrive_in_order_and_signed(world: World, receiver: Receiver) -> None:
    async with world.server(ADMITTING) as pool:
        webhook, secret = await pool.webhooks.create(world.ada, receiver.url, ["vm", "execution.finished"])
        vm = await pool.create_vm(world.ada, vm_request())
        await pool.create_vm(world.bob, vm_request())
        await pool.snapshot(world.ada, vm.id)
        await pool.delete_vm(world.ada, vm.id)
        await receiver.until(4)
        assert receiver.types() == ["vm.creating", "vm.running", "vm.deleting", "vm.deleted"]
        bodies = [verified(secret, headers, body) for headers, body in receiver.came]
        assert {body["data"]["vm_id"] for body in bodies} == {vm.id}
        headers = receiver.came[0][0]
        assert headers["webhook-id"] == f"event_{bodies[0]['data']['id']}"
        assert abs(int(headers["webhook-timestamp"]) - utcnow().timestamp()) < 3 * 86_400
        assert headers["host"] == receiver.url.split("/")[2] and headers["content-type"] == "application/json"
        with pytest.raises(AssertionError):
            verified(secret_of(b"another key", webhook), *receiver.came[0])

        async def logged() -> bool:
            return len(await pool.webhooks.deliveries(world.ada, webhook.id, limit=10)) == 4

        await eventually(logged)
        log = await pool.webhooks.deliveries(world.ada, webhook.id, limit=10)
        assert [(one.type, one.status, one.stage, one.attempt) for one in reversed(log)] == [
            (kind, 204, Stage.DELIVERED, 1) for kind in receiver.types()
        ]


async def test_what_does_not_arrive_is_tried_again_and_then_left_out(
    world: World, receiver: Receiver
) -> None:
    receiver.answers = [500, 0, 302, 200, 503, 200]
    async with world.server(ADMITTING) as pool:
        webhook, _ = await pool.webhooks.create(world.ada, receiver.url, ["vm"])
        vm = await pool.create_vm(world.ada, vm_request())
        await pool.stop_vm(world.ada, vm.id)
        await receiver.until(7)

        async def settled() -> bool:
            log = await pool.webhooks.deliveries(world.ada, webhook.id, limit=10)
            return len(log) == 7 and (await pool.webhooks.get(world.ada, webhook.id)).failing_since is None

        await eventually(settled)
        log = (await pool.webhooks.deliveries(world.ada, webhook.id, limit=10))[::-1]
    told = [(one.type, one.attempt, one.status, one.stage.value) for one in log]
    assert told == [
        ("vm.creating", 1, 500, "retrying"),
        ("vm.creating", 2, None, "retrying"),
        ("vm.creating", 3, 302, "failed"),  # a redirect is no arrival, and is not followed
        ("vm.running", 1, 200, "delivered"),
        ("vm.stopping", 1, 503, "retrying"),
        ("vm.stopping", 2, 200, "delivered"),
        ("vm.stopped", 1, 200, "delivered"),
    ]
    ids = [headers["webhook-id"] for headers, _ in receiver.came]
    assert ids[0] == ids[1] == ids[2] and len(set(ids)) == 4


async def test_the_next_server_goes_on_where_this_one_was(world: World, receiver: Receiver) -> None:
    receiver.answers = [200, 500]
    async with world.server(ADMITTING) as pool:
        _, secret = await pool.webhooks.create(world.ada, receiver.url, ["vm"])
        vm = await pool.create_vm(world.ada, vm_request())
        await receiver.until(2)
    receiver.answers = [200]
    async with world.server(ADMITTING) as pool:
        await pool.stop_vm(world.ada, vm.id)

        async def stopped() -> bool:
            return "vm.stopped" in receiver.types()

        await eventually(stopped)
    found = list(dict.fromkeys(receiver.types()))
    assert found[:2] == ["vm.creating", "vm.running"] and found[-2:] == ["vm.stopping", "vm.stopped"]
    for headers, body in receiver.came:
        verified(secret, headers, body)


async def test_one_that_fails_for_long_is_disabled_and_can_be_enabled(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PATIENCE", timedelta(seconds=-1))
    receiver.answers = [500]
    async with world.server(ADMITTING) as pool:
        webhook, _ = await pool.webhooks.create(world.ada, receiver.url, [])
        await pool.create_vm(world.ada, vm_request())

        async def disabled() -> bool:
            return (await pool.webhooks.get(world.ada, webhook.id)).disabled_at is not None

        await eventually(disabled)
        assert "nothing arrived" in str((await pool.webhooks.get(world.ada, webhook.id)).disabled_because)
        with pytest.raises(Conflict):
            await pool.webhooks.test(world.ada, webhook.id)
        before = len(receiver.came)
        receiver.answers = [200]
        await pool.stop_vm(world.ada, "test-vm")
        await pool.webhooks.change(world.ada, webhook.id, enabled=True)
        await pool.start_vm(world.ada, "test-vm")
        await receiver.until(before + 2)
    assert receiver.types()[before : before + 2] == ["vm.starting", "vm.running"]


async def test_gone_is_taken_at_its_word(world: World, receiver: Receiver) -> None:
    receiver.answers = [410]
    async with world.server(ADMITTING) as pool:
        webhook, _ = await pool.webhooks.create(world.ada, receiver.url, [])
        await pool.create_vm(world.ada, vm_request())

        async def disabled() -> bool:
            return (await pool.webhooks.get(world.ada, webhook.id)).disabled_because is not None

        await eventually(disabled)
    assert len(receiver.came) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://rebound.example:{port}/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00::1]/",
    ],
)
async def test_nothing_inside_is_reached(world: World, receiver: Receiver, url: str) -> None:
    """Whatever it is called; a name that leads inside, or also leads there, is found when it is sent to."""

    def lookup(name: str) -> list[str]:
        return ["93.184.215.14", "127.0.0.1"] if name == "rebound.example" else ["127.0.0.1"]

    port = receiver.url.split(":")[2].partition("/")[0]
    async with (
        FakeBackend(host=world.host) as backend,
        VMPoolManager(world.store, backend, QUICK, state_dir=world.state_dir, lookup=lookup) as pool,
    ):
        try:
            webhook, _ = await pool.webhooks.create(world.ada, url.format(port=port), [])
        except InvalidRequest as refused:
            assert "webhooks.admit" in refused.message or "host" in refused.message
        else:
            done = await pool.webhooks.test(world.ada, webhook.id)
            assert done.stage is Stage.FAILED and done.status is None
            assert "webhooks.admit" in str(done.problem)
    assert not receiver.came


async def test_what_is_wrong_is_said(world: World, pool: VMPoolManager) -> None:
    for url in (
        "ftp://example.org/",
        "https://",
        "https://user:word@example.org/",
        "https://example.org/#part",
        "https://exa mple.org/",
        "https://example.org:99999/",
        "https://-.example.org/",
        "https://ex\u00e4mple.org/",
        "https://example.org/" + "a" * 2000,
        "example.org",
    ):
        with pytest.raises(InvalidRequest):
            await pool.webhooks.create(world.ada, url, [])
    with pytest.raises(InvalidRequest, match="vms"):
        await pool.webhooks.create(world.ada, "https://example.org/", ["vms"])
    webhook, _ = await pool.webhooks.create(world.ada, "https://example.org/", ["snapshot"])
    for _ in range(MAX_WEBHOOKS - 1):
        await pool.webhooks.create(world.ada, "https://example.org/", ["snapshot"])
    with pytest.raises(TooManyWebhooks):
        await pool.webhooks.create(world.ada, "https://example.org/", [])
    for verb in (pool.webhooks.get, pool.webhooks.delete, pool.webhooks.rotate, pool.webhooks.test):
        with pytest.raises(WebhookNotFound):
            await verb(world.bob, webhook.id)


async def test_a_rotated_secret_holds_at_once(world: World, receiver: Receiver) -> None:
    async with world.server(ADMITTING) as pool:
        webhook, first = await pool.webhooks.create(world.ada, receiver.url, [])
        _, second = await pool.webhooks.rotate(world.ada, webhook.id)
        assert first != second
        done = await pool.webhooks.test(world.ada, webhook.id)
        assert done.stage is Stage.DELIVERED
        assert verified(second, *receiver.came[-1])["type"] == "webhook.test"
        await pool.webhooks.delete(world.ada, webhook.id)
        await pool.create_vm(world.ada, vm_request())
    assert len(receiver.came) == 1
