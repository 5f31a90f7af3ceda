"""Every operation of the OpenAPI document as a request that could be sent, so that no new route escapes.

What a path's parameters are called says what they name; a body is made from its schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from vmpool.api.edge import OPEN_PATHS
from vmpool.api.server import openapi

DOCUMENT = openapi()
NO_THINGS = {"port": 8080, "path": "index.html", "secret_name": "API_TOKEN"}
"""Parameters of paths that name nothing of anybody's."""


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    id: str
    described: Mapping[str, Any]

    def __str__(self) -> str:
        return self.id

    @property
    def body(self) -> Mapping[str, Any] | None:
        """The schema of its body, None where it has none."""
        content = self.described.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
        return None if schema is None else resolved(schema)

    @property
    def parameters(self) -> list[Mapping[str, Any]]:
        """Of its path, query and headers."""
        return list(self.described.get("parameters", ()))

    def names(self, parameter: str) -> bool:
        """Whether the path has this parameter."""
        return "{" + parameter + "}" in self.path

    def at(self, **values: object) -> str:
        """The path with these parameters, and the query it needs; KeyError for one of the path's that the
        tests do not know how to fill."""
        needed = {
            parameter["name"]: example(parameter["schema"], {})
            for parameter in self.parameters
            if parameter["in"] == "query" and parameter.get("required")
        }
        return self.path.format(**{**NO_THINGS, **values}) + (f"?{urlencode(needed)}" if needed else "")

    def example(self, **values: object) -> Any:
        """A smallest body its schema takes; fields named in `values` are sent with them where they exist."""
        return None if self.body is None else example(self.body, values)


def operations() -> Iterator[Operation]:
    """All of them."""
    for path, methods in DOCUMENT["paths"].items():
        for method, described in methods.items():
            yield Operation(method.upper(), path, described["operationId"], described)


KEYED = [operation for operation in operations() if operation.path not in OPEN_PATHS]
"""Those that need a key."""


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself: references followed, and of alternatives the first that is not null."""
    while True:
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        elif "anyOf" in schema:
            schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
        else:
            return schema


def example(schema: Mapping[str, Any], values: Mapping[str, object]) -> Any:
    """A value of this schema: its required fields, those in `values`, and nothing else."""
    schema = resolved(schema)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            fields = schema.get("properties", {})
            made = {name: example(fields[name], {}) for name in schema.get("required", ())}
            if "command" in fields and not made:
                made["command"] = "true"  # exactly one of `code` and `command`: no schema says so
            return made | {name: value for name, value in values.items() if name in fields}
        case "string":
            return (schema.get("examples") or ["x"])[0]
        case "integer":
            return int(schema.get("minimum", 1))
        case "number":
            return schema.get("minimum", 1)
        case "array":
            return [example(schema["items"], {})] * schema.get("minItems", 0)
        case "boolean":
            return False
    raise AssertionError(f"no example for {schema}")
