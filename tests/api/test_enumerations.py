"""Every value that the schema of a request offers is one that its validation takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from vmpool.api.schemas.base import Request
from vmpool.api.server import openapi


def requests(of: type[Request] = Request) -> Iterator[type[Request]]:
    """All models of bodies that the server's document has."""
    for model in of.__subclasses__():
        if model.__name__ in openapi()["components"]["schemas"]:
            yield model
        yield from requests(model)


def offered(schema: Mapping[str, Any], named: Mapping[str, Any]) -> Iterator[Any]:
    """The values of every enumeration in a field's schema, each as the field would hold it."""
    if "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    yield from schema.get("enum", ())
    if "const" in schema:
        yield schema["const"]
    for one in schema.get("anyOf", ()):
        yield from offered(one, named)
    if "items" in schema:
        yield from ([value] for value in offered(schema["items"], named))


def choices() -> Iterator[tuple[type[Request], str, Any]]:
    named = openapi()["components"]["schemas"]
    for model in requests():
        for field, schema in named[model.__name__]["properties"].items():
            for value in offered(schema, named):
                yield model, field, value


def test_there_are_some() -> None:
    found = {(model.__name__, field) for model, field, _ in choices()}
    assert found >= {("CreateVM", "network"), ("CreateVM", "isolation"), ("CreateKey", "scopes")}


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [pytest.param(*choice, id=f"{choice[0].__name__}.{choice[1]}={choice[2]}") for choice in choices()],
)
def test_what_is_offered_is_taken(model: type[Request], field: str, value: Any) -> None:
    wrong: list[Any] = []
    try:
        model.model_validate({field: value})
    except ValidationError as refusal:  # of fields that are missing, too
        wrong = [error for error in refusal.errors() if error["loc"][0] == field]
    assert wrong == []
