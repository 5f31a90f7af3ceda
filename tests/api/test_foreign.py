"""Every operation of the OpenAPI document: with a key that does not work, with one that lacks the scope, and
asked about somebody else's things, as if they were not there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from vmpool.api.scopes import NEEDED
from vmpool.api.services import Services
from vmpool.domain import Scope
from vmpool.store import utcnow

from .caller import Caller, problem
from .events import following
from .operations import KEYED, Operation

pytestmark = pytest.mark.anyio
With = Callable[[str | None], Caller]

ONES = dict.fromkeys(
    (
        *("vm_id", "execution_id", "snapshot_id", "context_id", "key_id", "user_id", "webhook_id"),
        *("template_id", "build_id"),
    ),
    1,
)
"""What the path of any operation may name; a new parameter must be added here to be tried."""
NOWHERE = dict.fromkeys(ONES, 2_000_000_000)
SECRETS = (
    "hush-name",
    "hush-code",
    "hush-label",
    "hush-output",
    "hush-snapshot",
    "hush-key",
    "hush-env",
    "hush-template",
    "hush-build",
)


@pytest.fixture
def database(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the database is asked to do, by kind, in order."""
    asked: list[str] = []
    for kind in ("read", "write", "write_behind"):
        original = getattr(services.store.database, kind)

        def noted(*arguments: object, kind: str = kind, original: Any = original, **named: object) -> object:
            asked.append(kind)
            return original(*arguments, **named)

        monkeypatch.setattr(services.store.database, kind, noted)
    return asked


def test_the_table_of_scopes_is_the_document() -> None:
    assert {operation.id for operation in KEYED} == NEEDED.keys()
    for operation in KEYED:
        assert operation.described["security"] == [{"HTTPBearer": [NEEDED[operation.id]]}], operation


async def test_a_key_that_does_not_work_is_401_everywhere(
    nobody: Caller, owner: Caller, services: Services
) -> None:
    user, keys = await services.store.users.create("ada", admin=True), services.store.keys
    revoked, revoked_secret = await keys.create(user.id, "revoked")
    await keys.revoke(user.id, revoked.id)
    _, expired_secret = await keys.create(user.id, "expired", utcnow() - timedelta(seconds=1))
    _, good = await keys.create(user.id, "good")
    wrong = {
        "missing": None,
        "revoked": f"Bearer {revoked_secret}",
        "expired": f"Bearer {expired_secret}",
        "unknown": "Bearer vmp_" + "x" * 43,
        "malformed": "Bearer wrong",
        "empty": "Bearer",
        "another scheme": "Basic dXNlcjpwYXNz",
        "no scheme": good,
        "endless": "Bearer " + "x" * 4000,
        "one letter less": f"Bearer {good[:-1]}",
        "one letter more": f"Bearer {good}x",
        "two": f"Bearer {good}, Bearer {good}",
    }
    told = set()
    for operation in KEYED:
        for header in wrong.values():
            headers = (
                {"Authorization": header, "X-Request-ID": "same"} if header else {"X-Request-ID": "same"}
            )
            path, body = operation.at(**ONES), operation.example()
            answer = await nobody.call(operation.method, path, body, headers=headers)
            problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
            told.add(_all_of(answer))
    assert len(told) == 1  # nothing tells one from another
    fine = await nobody.call("GET", "/api/vms", headers={"Authorization": f"Bearer {good}"})
    assert fine.status_code == 200


@pytest.mark.parametrize("operation", KEYED, ids=str)
async def test_an_operation_needs_its_scope_and_no_other(
    operation: Operation, services: Services, caller_with: With
) -> None:
    user, keys = await services.store.users.create("ada", admin=True), services.store.keys
    path, body = operation.at(**NOWHERE), operation.example()
    needed = NEEDED[operation.id]
    _, lacking = await keys.create(user.id, "lacking", scopes=set(Scope) - {needed})
    found = await caller_with(lacking).refused(
        operation.method, path, body, status=403, code="insufficient_scope"
    )
    assert found.context == {"scope": needed}
    _, only = await keys.create(user.id, "only", scopes={needed})
    answer = await caller_with(only).call(operation.method, path, body)
    assert answer.status_code not in (401, 403) and answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    "operation", [one for one in KEYED if NEEDED[one.id] is Scope.ADMIN or one.id == "metrics"], ids=str
)
async def test_administration_is_for_administrators(
    operation: Operation, services: Services, caller_with: With
) -> None:
    """A key that was made with `admin` loses it with its user's."""
    user = await services.store.users.create("ada")
    _, secret = await services.store.keys.create(user.id, "k", scopes=set(Scope))
    path = operation.at(**{**ONES, "user_id": user.id})
    answer = await caller_with(secret).call(operation.method, path, operation.example())
    problem(answer, 403, "forbidden")


async def test_a_foreign_thing_is_as_if_it_were_not_there(
    owner: Caller, other: Caller, database: list[str]
) -> None:
    """Each id by itself, in a path whose other ids are one's own.

    The answer is the one to an id that never was, but for the id itself, and the database is asked as often
    for it, so that the time it takes tells nothing either.
    """
    theirs, mine = await _things(owner, SECRETS[0]), await _things(other, "mine")
    before = await _state(owner, theirs)
    tried = 0
    for operation in (one for one in KEYED if NEEDED[one.id] is not Scope.ADMIN):
        for parameter in ONES:
            if not operation.names(parameter):
                continue
            for foreign in theirs[parameter]:
                answers, work = [], []
                for asked in (foreign, _like(foreign)):
                    path = operation.at(**{name: ids[0] for name, ids in mine.items()} | {parameter: asked})
                    body = operation.example(snapshot_id=mine["snapshot_id"][0])
                    database.clear()
                    same = {"X-Request-ID": "same"}
                    answers.append(await other.call(operation.method, path, body, headers=same))
                    work.append(list(database))
                assert work[0] == work[1], (operation, parameter)
                assert [answer.status_code for answer in answers] == [404, 404], (operation, parameter)
                assert _all_of(answers[0], foreign) == _all_of(answers[1], _like(foreign))
                assert not any(secret in answers[0].text for secret in SECRETS if secret != foreign)
                tried += 1
    assert tried >= 28
    assert await _state(owner, theirs) == before


async def test_a_foreign_thing_named_in_a_body_is_as_if_it_were_not_there(
    owner: Caller, other: Caller
) -> None:
    theirs, mine = await _things(owner, SECRETS[0]), await _things(other, "mine")
    fields = {
        (operation.id, field)
        for operation in KEYED
        for field in (operation.body or {}).get("properties", {})
        if field.removesuffix("s") in ONES
    }
    assert fields == {  # each is tried below
        ("restore_vm", "snapshot_id"),
        ("batch_execute", "vm_ids"),
        ("create_template", "vm_id"),
        ("create_template", "snapshot_id"),
    }
    kept = theirs["snapshot_id"][0]
    for asked in (kept, _like(kept)):
        await other.refused(
            "POST",
            f"/api/vms/{mine['vm_id'][0]}/restore",
            {"snapshot_id": asked},
            status=404,
            code="snapshot_not_found",
        )
    for field, code in (("vm_id", "vm_not_found"), ("snapshot_id", "snapshot_not_found")):
        said = []
        for asked in (theirs[field][0], _like(theirs[field][0])):
            body = {"name": "mine-now", field: asked}
            problem = await other.refused("POST", "/api/templates", body, status=404, code=code)
            said.append(problem.detail.replace(f"'{asked}'", "it"))
        assert said[0] == said[1]
    for reference in theirs["template_id"]:
        said = []
        for asked in (reference, _like(reference)):
            body = {"name": "from-it", "template": str(asked)}
            problem = await other.refused(
                "POST", "/api/vms/create", body, status=404, code="template_not_found"
            )
            said.append(problem.detail.replace(f"'{asked}'", "it"))
        assert said[0] == said[1]
    for foreign in theirs["vm_id"]:
        asked = [foreign, _like(foreign)]
        items = await other.ok("POST", "/api/vms/batch-execute", {"code": "1", "vm_ids": asked})
        assert items[0]["error"]["code"] == "vm_not_found"
        for item, one in zip(items, asked, strict=True):
            assert (item.pop("vm_id"), item["error"].pop("context")) == (one, {"reference": str(one)})
            item["error"]["detail"] = item["error"]["detail"].replace(f"'{one}'", "it")
        assert items[0] == items[1]


async def test_what_is_listed_is_ones_own(owner: Caller, other: Caller) -> None:
    """Every operation that reads and names nothing, and everything it answers, headers included."""
    await _things(owner, SECRETS[0])
    tried = 0
    for operation in KEYED:
        if operation.method == "GET" and "{" not in operation.path and NEEDED[operation.id] is Scope.READ:
            answer = await other.call("GET", operation.path)
            assert answer.status_code == (403 if operation.id == "metrics" else 200)
            assert "hush" not in _all_of(answer), operation
            tried += 1
    assert tried >= 3
    assert await other.ok("POST", "/api/vms/batch-execute", {"code": "1"}) == []


async def _things(caller: Caller, name: str) -> dict[str, list[Any]]:
    """One of everything, by what a path calls it; a VM by its id and by its name."""
    vm = await caller.create(name, labels={"note": "hush-label"}, env={"TOKEN": "hush-env"})
    ran = await caller.execute(vm["id"], "print('hush-output')  # hush-code")
    template = {"name": "hush-template" if name in SECRETS else "template", "vm_id": vm["id"]}
    made = await caller.ok("POST", "/api/templates", template, status=201)
    step = {"run": "echo hush-build"}
    body = {"name": template["name"] + "-built", "from": "bash", "steps": [step]}
    build = await caller.ok("POST", "/api/templates", body, status=202)
    async with following(caller, f"/api/template-builds/{build['id']}/log") as stream:
        assert [event async for event in stream.named()]  # until it has ended
    kept = await caller.ok("POST", f"/api/vms/{name}/snapshot", {"name": "hush-snapshot"}, status=201)
    context = await caller.ok("POST", f"/api/vms/{name}/contexts", {"env": {"A": "hush-env"}}, status=201)
    key = await caller.ok("POST", "/api/keys", {"name": "hush-key"}, status=201)
    hook = await caller.ok("POST", "/api/webhooks", {"url": "https://hush-hook.invalid/"}, status=201)
    return {
        "template_id": [made["id"], made["name"]],
        "build_id": [build["id"]],
        "vm_id": [vm["id"], name],
        "execution_id": [ran["id"]],
        "snapshot_id": [kept["id"]],
        "context_id": [context["id"]],
        "key_id": [key["id"]],
        "webhook_id": [hook["id"]],
        "user_id": [vm["user_id"]],
    }


async def _state(caller: Caller, things: dict[str, list[Any]]) -> list[Any]:
    vm = things["vm_id"][0]
    paths = (
        f"/api/vms/{vm}",
        f"/api/vms/{vm}/executions",
        f"/api/vms/{vm}/snapshots",
        f"/api/vms/{vm}/contexts",
    )
    return [await caller.ok("GET", path) for path in paths] + [
        {key["id"]: key["expires_at"] for key in await caller.ok("GET", "/api/keys")},
        await caller.ok("GET", "/api/templates"),
    ]


def _like(reference: int | str) -> int | str:
    """An id or a name of the same kind that never was."""
    return 2_000_000_000 if isinstance(reference, int) else "nowhere-at-all"


def _all_of(answer: httpx.Response, asked: object = None) -> str:
    """Everything an answer says, with what was asked for taken out."""
    headers = sorted((name, value) for name, value in answer.headers.items() if name != "content-length")
    said = f"{answer.status_code} {headers} {answer.text}"
    return said if asked is None else said.replace(f"'{asked}'", "it").replace(f'"{asked}"', "it")
