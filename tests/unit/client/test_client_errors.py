"""The client's error tree against the server's."""

from collections.abc import Iterator

import pytest

from vmpool import errors as server
from vmpool.api.errors import status_of
from vmpool.client import errors


def _tree(root: type[server.VMPoolError]) -> Iterator[type[server.VMPoolError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


SERVERS = {kind.code: kind for kind in _tree(server.VMPoolError)}


def test_the_codes_are_the_servers() -> None:
    assert set(errors.BY_CODE) == set(SERVERS)


@pytest.mark.parametrize("code", sorted(SERVERS))
def test_each_class_has_the_name_and_the_ancestors_of_the_servers(code: str) -> None:
    theirs, ours = SERVERS[code], errors.BY_CODE[code]
    if theirs is server.VMPoolError:
        assert ours is errors.InternalError
        return
    assert ours.__name__ == theirs.__name__
    parent = theirs.__mro__[1]
    expected = errors.APIError if parent is server.VMPoolError else errors.BY_CODE[parent.__dict__["code"]]
    assert ours.__mro__[1] is expected


@pytest.mark.parametrize(
    ("status", "family"),
    [
        (401, errors.Unauthenticated),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (405, errors.InvalidRequest),
        (409, errors.Conflict),
        (413, errors.InvalidRequest),
        (429, errors.LimitReached),
        (500, errors.InternalError),
        (502, errors.InfrastructureFailure),
        (504, errors.InfrastructureFailure),
    ],
)
def test_an_unknown_code_becomes_the_family_of_its_status(status: int, family: type[errors.APIError]) -> None:
    assert errors.error_class("invented_tomorrow", status) is family


@pytest.mark.parametrize("code", sorted(set(SERVERS) - {"pool_full", "backend_unreachable", "store_failed"}))
def test_the_family_of_a_status_is_an_ancestor_of_the_class_of_the_code(code: str) -> None:
    status = status_of(SERVERS[code])
    assert issubclass(errors.BY_CODE[code], errors.error_class("invented_tomorrow", status))
