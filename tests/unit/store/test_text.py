from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmpool.domain import VM, Outcome
from vmpool.store import Store
from vmpool.store.text import storable, stored_size

ANY_TEXT = st.text(st.one_of(st.characters(), st.sampled_from("\x00\ud800\udfff\U0010ffff")))


@given(ANY_TEXT)
def test_storable_text_encodes_holds_no_nul_and_is_otherwise_the_same(value: str) -> None:
    stored = storable(value)
    stored.encode()
    assert "\x00" not in stored
    assert storable(stored) == stored
    assert len(stored) == len(value)
    for was, now in zip(value, stored, strict=True):
        assert now == {"\x00": "␀"}.get(was, "�" if "\ud800" <= was <= "\udfff" else was)


@given(ANY_TEXT)
def test_stored_size_is_the_length_of_its_bytes(value: str) -> None:
    assert stored_size(value) == len(value.encode("utf-8", "surrogatepass"))


@pytest.mark.anyio
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(code=ANY_TEXT, output=ANY_TEXT, failure=ANY_TEXT)
async def test_any_text_survives_every_database_alike(
    store: Store, vm: VM, code: str, output: str, failure: str
) -> None:
    begun = await store.executions.begin(vm.id, code, "python", 1)
    assert begun.code == storable(code)
    done = await store.executions.lose(begun, failure, Outcome(output, output, 0, 0))
    assert done.outcome is not None
    assert (done.outcome.output, done.failure) == (storable(output), storable(failure))
    assert await store.executions.get(vm.id, begun.id) == done


@pytest.mark.anyio
async def test_a_large_output_survives(store: Store, vm: VM) -> None:
    output = "ü\x00" * (1 << 20)
    begun = await store.executions.begin(vm.id, "1", "python", 1)
    done = await store.executions.finish(begun, Outcome(output, "", 0, 0))
    assert done.outcome is not None
    assert done.outcome.output == "ü␀" * (1 << 20)
