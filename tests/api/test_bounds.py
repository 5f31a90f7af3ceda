"""No field of any request is without a bound, and every bound holds: both read from the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vmpool.settings import Listen, RateSettings, Settings

from .caller import Caller
from .operations import Operation, example, operations, resolved

pytestmark = pytest.mark.anyio

IDS = dict.fromkeys(
    (
        *("vm_id", "execution_id", "snapshot_id", "context_id", "key_id", "user_id", "webhook_id"),
        *("template_id", "build_id"),
    ),
    2_000_000_000,
)
Schema = Mapping[str, Any]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A server that takes bodies longer than the longest field."""
    return Settings(
        state_dir=tmp_path / "state",
        backend="fake",
        listen=Listen(port=0, max_body=64 << 20),
        rates=RateSettings(failures=0),
    )


@dataclass(frozen=True)
class Field:
    """One field of one operation: where it is, its schema, and a way to send a value in it."""

    operation: Operation
    where: str
    schema: Schema

    def __str__(self) -> str:
        return f"{self.operation.id} {self.where}"


def fields() -> Iterator[Field]:
    """Parameters, and bodies from the outside in."""
    for operation in operations():
        for parameter in operation.parameters:
            yield Field(operation, f"{parameter['in']}:{parameter['name']}", resolved(parameter["schema"]))
        if operation.body is not None:
            yield from _inside(operation, "body", operation.body)


def _inside(operation: Operation, where: str, schema: Schema) -> Iterator[Field]:
    for alternative in [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]:
        found = resolved(alternative)
        yield Field(operation, where, found)
        for name, inner in found.get("properties", {}).items():
            yield from _inside(operation, f"{where}.{name}", inner)
        if found.get("type") == "array":
            yield from _inside(operation, f"{where}.0", found["items"])
        if isinstance(found.get("additionalProperties"), Mapping):
            yield from _inside(operation, f"{where}.key", found["additionalProperties"])


FIELDS = list(fields())


def test_there_are_such_fields() -> None:
    assert len(FIELDS) >= 80


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_every_field_is_bounded(field: Field) -> None:
    schema = field.schema
    if "enum" in schema or "const" in schema:
        return
    match schema["type"]:
        case "string":
            assert "maxLength" in schema
        case "integer" | "number":
            assert {"minimum", "exclusiveMinimum"} & schema.keys()
            assert {"maximum", "exclusiveMaximum"} & schema.keys()
        case "array":
            assert "maxItems" in schema
        case "object" if schema.get("additionalProperties") is False:
            assert schema["properties"]
        case "object":
            assert "maxProperties" in schema
            assert "maxLength" in schema["propertyNames"]
        case other:
            assert other == "boolean"


async def test_every_bound_holds(owner: Caller) -> None:
    """A value just past it is 422, and the answer names the field."""
    tried = 0
    for field in FIELDS:
        for wrong in past(field.schema):
            place, _, name = field.where.partition(":")
            path, body, headers = field.operation.at(**IDS), field.operation.example(), {}
            if place == "path":
                path = field.operation.at(**{**IDS, name: wrong})
            elif place == "query":
                path += f"{'&' if '?' in path else '?'}{name}={wrong}"
            elif place == "header":
                headers = {name: str(wrong)}
            else:
                body = _with(body, field.where.split(".")[1:], wrong)
            answer = await owner.call(field.operation.method, path, body, headers=headers)
            assert answer.status_code == 422, (str(field), answer.text[:300])
            told = {error["field"] for error in answer.json()["errors"]}
            named = name if name else field.where.removeprefix("body").removeprefix(".")
            assert any(one.startswith(named.partition(".key")[0]) for one in told), (str(field), told)
            tried += 1
    assert tried >= 100


def past(schema: Schema) -> Iterator[object]:
    """Values just past each of a schema's bounds."""
    if "enum" in schema or "const" in schema:
        yield "no-such-word"
        return
    match schema["type"]:
        case "string":
            yield "x" * (schema["maxLength"] + 1)
        case "integer" | "number":
            least, most = schema.get("minimum"), schema.get("maximum")
            # The document writes whole numbers as floating point ones, to which 1 may be too little to add.
            yield int(schema["exclusiveMinimum"]) if least is None else int(least) - 1
            yield int(schema["exclusiveMaximum"]) if most is None else int(most) + 1
            yield 10**400
        case "array":
            yield [example(schema["items"], {})] * (schema["maxItems"] + 1)
        case "object" if schema.get("additionalProperties") is not False:
            value = example(schema["additionalProperties"], {})
            yield {f"k{n}": value for n in range(schema["maxProperties"] + 1)}
            yield {"k" * (schema["propertyNames"]["maxLength"] + 1): value}


def _with(body: Any, names: list[str], value: object) -> Any:
    """The body with one field set, in the middle of what is made for the purpose."""
    if not names:
        return value
    first, *rest = names
    if first == "0":
        return [_with(None, rest, value)]
    if first == "key":
        return {"key": _with(None, rest, value)}
    found = dict(body or {})
    if first in {"code", "command"}:
        found.pop("code", None)
        found.pop("command", None)
    found[first] = _with(found.get(first), rest, value)
    return found
