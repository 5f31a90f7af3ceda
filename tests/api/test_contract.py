"""Every operation of the OpenAPI document, with what its schema allows and what not, on a live server.

No 5xx, no status, header, media type or body that the document does not have, nothing accepted that it
forbids.  The requests are schemathesis's; what they name mostly exists, or everything would end in 404.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case as AnyCase
from schemathesis.checks import CHECKS, CheckFunction
from schemathesis.generation import GenerationMode

from tests.server_process import ServerProcess, server

from .operations import DOCUMENT


@schemathesis.serializer("application/x-tar")
def tar(_: object, value: Any) -> Any:
    """Of an archive's bytes: they are sent as they are, and mostly are no archive."""
    return value


NOT_HERE = ("positive_data_acceptance", "missing_required_header", "ignored_auth")
"""Limits, names and times are refused for more than a schema can say; keys are `test_foreign.py`'s."""
Case = AnyCase[Any]
OWN = 1
"""The id of our own user and of our own key."""
CODE = ("print('hi')", "import sys; sys.exit(3)", "print('x' * 2_000_000)")
SETTINGS = {
    "RATES__REQUESTS": "0",
    "RATES__FAILURES": "0",
    "LIMITS__MAX_TOTAL_VMS": "10000",
    "LIMITS__HOST_MEMORY": "64000000",
    "LIMITS__MAX_DISK_LIMIT": "2000",
    "LIMITS__MAX_EXECUTION_TIME": "1",
    "LIMITS__DEFAULT_TIMEOUT": "1",
    "LIFETIME__TTL": "300",
}


@dataclass
class Site:
    """A server, and things on it that requests can name."""

    running: ServerProcess
    turn: Iterator[int] = field(default_factory=count)

    def ok(self, method: str, path: str, body: object = None) -> Any:
        answer = self.running.client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def vm(self) -> int:
        """A running VM that has a snapshot and an execution."""
        known = self.running.client.get("/api/vms/box")
        if known.status_code == 200 and known.json()["status"] == "running":
            return int(known.json()["id"])
        if known.status_code == 200:
            self.ok("DELETE", "/api/vms/box")
        made = self.ok("POST", "/api/vms/create", {"name": "box", "language": "python"})
        return int(made["id"])

    def key(self) -> int:
        """A key beside our own."""
        answer = self.running.client.post("/api/keys")
        if answer.status_code == 429:  # as many as one may have
            for known in self.ok("GET", "/api/keys?limit=1000"):
                if known["id"] != OWN:
                    self.ok("DELETE", f"/api/keys/{known['id']}")
            answer = self.running.client.post("/api/keys")
        return int(answer.json()["id"])

    def webhook(self) -> int:
        """A webhook, sent nothing anybody hears of."""
        wanted = {"url": "https://hook.invalid/", "types": ["snapshot.deleted"]}
        answer = self.running.client.post("/api/webhooks", json=wanted)
        if answer.status_code == 409:  # as many as one may have
            for known in self.ok("GET", "/api/webhooks"):
                self.ok("DELETE", f"/api/webhooks/{known['id']}")
            answer = self.running.client.post("/api/webhooks", json=wanted)
        return int(answer.json()["id"])

    def template(self) -> int:
        """A template of ours."""
        known = self.ok("GET", "/api/templates?limit=1000")
        for template in known[10:]:  # there is room for some
            self.ok("DELETE", f"/api/templates/{template['id']}")
        name = f"template-{next(self.turn)}"
        return int(self.ok("POST", "/api/templates", {"name": name, "vm_id": self.vm()})["id"])

    def build(self) -> int:
        """A build that fails at its only step, or is still at it."""
        begun = {"name": f"built-{next(self.turn)}", "from": "python", "steps": [{"run": "false"}]}
        answer = self.running.client.post("/api/templates", json=begun)
        if answer.status_code == 202:
            return int(answer.json()["id"])
        return int(self.ok("GET", "/api/template-builds")[0]["id"])  # as many as one may have at once

    def named(self, parameter: str, vm: int | None) -> Any:
        """What a path's parameter may name, made for it; KeyError for one this does not know."""
        match parameter:
            case "vm_id":
                return vm
            case "execution_id":
                return self.ok("POST", f"/api/vms/{vm}/execute", {"code": "print(1)"})["id"]
            case "snapshot_id":
                return self.ok("POST", f"/api/vms/{vm}/snapshot")["id"]
            case "context_id":
                for known in self.ok("GET", f"/api/vms/{vm}/contexts"):  # there is room for a few
                    self.ok("DELETE", f"/api/vms/{vm}/contexts/{known['id']}")
                return self.ok("POST", f"/api/vms/{vm}/contexts", {"language": "python"})["id"]
            case "user_id":
                return self.ok("POST", "/api/users", {"name": f"user-{next(self.turn)}"})["id"]
            case "key_id":
                return self.key()
            case "webhook_id":
                return self.webhook()
            case "template_id":
                return self.template()
            case "build_id":
                return self.build()
            case "secret_name":
                return "API_TOKEN"
            case "port":
                return 8080
            case "path":
                return "index.html"
        raise KeyError(parameter)


@contextmanager
def site_on(backend: str, path: Path) -> Iterator[Site]:
    """A server; its VMs are deleted at the end, and it has met nothing it did not foresee."""
    with server(path / "state", path / "output", BACKEND=backend, **SETTINGS) as running:
        yield Site(running)
        for vm in running.client.get("/api/vms?limit=1000").json():
            running.client.delete(f"/api/vms/{vm['id']}")
        assert "Traceback" not in (path / "output").read_text()


@pytest.fixture(scope="module")
def fake_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_on("fake", tmp_path_factory.mktemp("fake")) as site:
        yield site


@pytest.fixture(scope="module")
def real_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site_on("bubblewrap", tmp_path_factory.mktemp("real")) as site:
        yield site


def schema(*, edges: bool) -> schemathesis.BaseSchema:
    """The document's.  edges: with every request at the edge of what a schema allows."""
    found = schemathesis.openapi.from_dict(DOCUMENT)
    found.config.phases.coverage.enabled = edges
    return found


def lively(site: Site, case: Case) -> None:
    """Let three requests of four name what exists, and run what ends."""
    turn = next(site.turn)
    if case.query.get("follow"):
        case.query["follow"] = "false"  # a stream without an end
    if case.operation.path.endswith("/files/watch"):
        case.query["path"] = "/nowhere"  # as above
    vm = site.vm() if turn % 4 and "vm_id" in case.path_parameters else None
    for name, value in case.path_parameters.items():
        locks_itself_out = name in ("key_id", "user_id") and str(value) == str(OWN)
        if turn % 4 or locks_itself_out:
            case.path_parameters[name] = site.named(name, vm)
    body = case.body
    if turn % 2 and isinstance(body, dict):
        if "code" in body:
            body["code"] = CODE[turn % len(CODE)]
        if "language" in body:
            body["language"] = "python"
        if "name" in body and case.operation.path == "/api/vms/create":
            body["name"] = f"vm-{turn}"
        if "snapshot_id" in body and vm is not None:
            body["snapshot_id"] = site.named("snapshot_id", vm)


def forbidden_body(case: Case) -> bool:
    """Whether it is the body that the schema does not allow: an unknown query parameter is passed over."""
    parts = {} if case.meta is None else case.meta.components
    return any(part.value == "body" and what.mode is GenerationMode.NEGATIVE for part, what in parts.items())


def check(site: Site, case: Case) -> None:
    """Send it, and look at the answer."""
    lively(site, case)
    names = NOT_HERE if forbidden_body(case) else (*NOT_HERE, "negative_data_rejection")
    if "/ports/" in case.operation.path or "/tunnels/" in case.operation.path:
        names = (*names, "not_a_server_error")  # nothing listens in these VMs: 502
    if case.operation.path.endswith("/snapshots/import"):
        names = (*names, "unsupported_method")  # read or deleted it is a snapshot of that id: 422
    excluded = [cast("CheckFunction", CHECKS.get_one(name)) for name in names]
    case.call_and_validate(
        base_url=site.running.url,
        headers={"Authorization": f"Bearer {site.running.key}"},
        excluded_checks=excluded,
        timeout=30,
    )


usual = partial(settings, deadline=None, suppress_health_check=list(HealthCheck), database=None)


@schema(edges=True).parametrize()
@usual(max_examples=6)
def test_every_answer_is_documented(case: Case, fake_site: Site) -> None:
    check(fake_site, case)


@schema(edges=False).parametrize()
@usual(max_examples=2)
def test_on_real_vms_too(case: Case, real_site: Site) -> None:
    check(real_site, case)
