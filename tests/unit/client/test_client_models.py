"""The client's models against the server's document."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from vmpool.client import models
from vmpool.client.options import PolicyOptions, RunOptions, StreamOptions, VMOptions

SPEC = json.loads((Path(__file__).parents[3] / "spec" / "openapi.json").read_text())
SCHEMAS: dict[str, dict[str, Any]] = SPEC["components"]["schemas"]
MODELS: dict[str, type[BaseModel]] = {
    name: kind
    for name, kind in vars(models).items()
    if isinstance(kind, type) and issubclass(kind, models.Answer) and kind is not models.Answer
}
EXECUTION = {
    "id": 7,
    "vm_id": 3,
    "code": "print(1)",
    "output": "1\n",
    "error": "",
    "exit_code": 0,
    "execution_time": 0.02,
    "executed_at": "2026-01-02T03:04:05Z",
    "timed_out": False,
    "oom_killed": False,
    "truncated": False,
    "cpu_time": 0.01,
    "max_memory": 9_000_000,
    "state": "finished",
    "language": "python",
    "failure": None,
}


def _answers() -> set[str]:
    """Every schema that an operation answers with, and what those contain."""
    seen: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).rpartition("/")[2]
            if name and name not in seen:
                seen.add(name)
                visit(SCHEMAS[name])
            for child in node.values():
                visit(child)
        elif isinstance(node, list):
            for child in node:
                visit(child)

    for path in SPEC["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict):
                visit(operation.get("responses", {}))
    return {name for name in seen if SCHEMAS[name].get("type") == "object"}


def _kind(schema: dict[str, Any], definitions: dict[str, Any]) -> object:
    """What a property holds, as far as both sides must agree: types, nullability, items, times."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        target = definitions[name]
        return name if target.get("type") == "object" else _kind(target, definitions)
    if "anyOf" in schema:
        return frozenset(_kind(option, definitions) for option in schema["anyOf"])
    match schema.get("type"):
        case "array":
            return ("array", _kind(schema["items"], definitions))
        case "object":
            inner = schema.get("additionalProperties")
            return ("object", _kind(inner, definitions) if isinstance(inner, dict) else "anything")
        case "string":
            return ("string", schema.get("format"))
        case None:  # a constant, or anything at all
            return ("string", None) if isinstance(schema.get("const"), str) else "anything"
        case other:
            return other


def test_every_answer_of_the_server_has_a_model() -> None:
    validation = {"ValidationError", "HTTPValidationError"}  # FastAPI's own, which this server never sends
    browsers = {"Session"}  # the SDK has a key
    assert _answers() - validation - browsers == set(MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_each_model_is_the_schema_of_the_same_name(name: str) -> None:
    ours = MODELS[name].model_json_schema(by_alias=True, mode="validation")
    definitions = ours.get("$defs", {})
    convenience = {"ok", "output", "exit_code"} if name == "BatchError" else set()
    mine = {
        field: _kind(schema, definitions)
        for field, schema in ours["properties"].items()
        if field not in convenience
    }
    theirs = {field: _kind(schema, SCHEMAS) for field, schema in SCHEMAS[name]["properties"].items()}
    if name == "Execution":  # null reads as the empty text
        mine |= {field: frozenset({("string", None), "null"}) for field in ("output", "error")}
    if name == "Problem":  # a proxy's problem may lack it
        mine["request_id"] = ("string", None)
    assert mine == theirs


@pytest.mark.parametrize(
    ("options", "schema", "named"),
    [
        (VMOptions, "CreateVM", {"name", "language"}),
        (PolicyOptions, "NetworkPolicy", set()),
        (StreamOptions, "ExecuteRequest", {"code", "background"}),
        (RunOptions, "BatchExecuteRequest", {"code", "vm_ids"}),
    ],
)
def test_the_optional_arguments_are_the_fields_of_the_request(
    options: type, schema: str, named: set[str]
) -> None:
    assert set(options.__annotations__) | named == set(SCHEMAS[schema]["properties"])


def test_fields_of_a_newer_server_are_kept() -> None:
    execution = models.Execution.model_validate({**EXECUTION, "from_tomorrow": [1]})
    assert execution.model_dump()["from_tomorrow"] == [1]


def test_what_a_running_program_has_not_written_reads_as_nothing() -> None:
    running = models.Execution.model_validate(
        {**EXECUTION, "output": None, "error": None, "state": "running"}
    )
    assert (running.output, running.error) == ("", "")


def test_a_result_is_ok_when_the_program_ended_by_itself_with_0() -> None:
    assert models.Execution.model_validate(EXECUTION).ok
    for change in ({"exit_code": 1}, {"timed_out": True}, {"state": "lost", "exit_code": None}):
        assert not models.Execution.model_validate({**EXECUTION, **change}).ok
