"""From calls to requests and from answers to values."""

import json

import pytest

from vmpool.client.errors import APIError, InfrastructureFailure, PoolFull, QuotaExceeded, UnexpectedAnswer
from vmpool.client.models import VMStatus
from vmpool.client.wire import Call, error_of, given, next_page, pause_before_retry, value, values, vm_path


def _problem(**fields: object) -> bytes:
    return json.dumps({"type": "t", "title": "T", "status": 0, "detail": "what happened", **fields}).encode()


def test_a_vm_reference_cannot_leave_its_place_in_the_path() -> None:
    assert vm_path(3, "logs") == "/api/vms/3/logs"
    assert vm_path("../users?x=1#y") == "/api/vms/..%2Fusers%3Fx%3D1%23y"


def test_what_was_not_given_is_not_sent_and_what_is_false_or_empty_is() -> None:
    assert given(a=None, b=0, c="", d=False, e={}) == {"b": 0, "c": "", "d": False, "e": {}}


@pytest.mark.parametrize(
    ("call", "repeatable"),
    [
        (Call("GET", "/"), True),
        (Call("DELETE", "/"), True),
        (Call("POST", "/", idempotency_key="k"), True),
        (Call("POST", "/"), False),
    ],
)
def test_only_what_has_one_effect_when_sent_twice_is_repeatable(call: Call, repeatable: bool) -> None:
    assert call.repeatable is repeatable


def test_an_error_carries_all_that_the_server_said() -> None:
    body = _problem(
        code="quota_exceeded", retryable=True, request_id="r1", context={"limit": 10, "retry_after": 5}
    )
    error = error_of(429, {}, body)
    assert type(error) is QuotaExceeded
    assert (error.message, error.status, error.code) == ("what happened", 429, "quota_exceeded")
    assert (error.retryable, error.request_id, error.retry_after) == (True, "r1", 5.0)
    assert error.context["limit"] == 10


def test_the_wrong_field_is_named() -> None:
    body = _problem(code="invalid_request", errors=[{"field": "cpu_limit", "problem": "must be positive"}])
    error = error_of(422, {}, body)
    assert getattr(error, "field") == "cpu_limit"  # noqa: B009 (its class is looked up at run time)


def test_whether_the_code_may_have_run_is_told() -> None:
    error = error_of(502, {}, _problem(code="agent_unreachable", dispatch="outcome_unknown"))
    assert error.dispatch == "outcome_unknown"


def test_the_header_says_when_to_come_back() -> None:
    assert error_of(503, {"retry-after": "7"}, _problem(code="pool_full")).retry_after == 7.0
    assert error_of(503, {"retry-after": "Fri, 31 Dec"}, _problem(code="pool_full")).retry_after is None


def test_a_proxys_page_becomes_the_family_of_its_status() -> None:
    error = error_of(502, {"x-request-id": "r2"}, b"<html>Bad Gateway</html>")
    assert type(error) is InfrastructureFailure
    assert "Bad Gateway" in error.message
    assert error.request_id == "r2"


def test_an_answer_of_another_service_is_named_as_such() -> None:
    with pytest.raises(UnexpectedAnswer, match="not a vmpool server"):
        value(VMStatus, b"<html>welcome</html>")
    with pytest.raises(UnexpectedAnswer):
        values(VMStatus, b'{"not": "a list"}')


def _refused(status: int, *, retryable: bool = True, retry_after: float | None = 2.0) -> APIError:
    return PoolFull("full", status=status, code="pool_full", retryable=retryable, retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "left", "pause"),
    [
        (_refused(503), 5.0, 2.0),
        (_refused(429), 2.0, 2.0),
        (_refused(503, retry_after=None), 5.0, 1.0),
        (_refused(503, retry_after=0.0), 5.0, 0.05),
        (_refused(503), 1.9, None),
        (_refused(503), 0.0, None),
        (_refused(503, retryable=False), 5.0, None),
        (_refused(502), 5.0, None),
    ],
)
def test_a_refusal_is_waited_out_only_within_the_callers_patience(
    error: APIError, left: float, pause: float | None
) -> None:
    assert pause_before_retry(error, left=left) == pause


def test_nothing_that_may_have_run_is_sent_again() -> None:
    error = InfrastructureFailure(
        "gone", status=503, code="agent_unreachable", retryable=True, dispatch="outcome_unknown"
    )
    assert pause_before_retry(error, left=100.0) is None


def test_the_next_page_is_asked_of_the_same_server() -> None:
    link = {"next": {"url": "http://inside:1/api/vms?limit=2&cursor=9", "rel": "next"}}
    assert next_page(link) == "/api/vms?limit=2&cursor=9"
    assert next_page({}) is None
