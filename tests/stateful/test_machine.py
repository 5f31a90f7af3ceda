"""Random lives of VMs: one by one, at the same time, and across servers, as the model says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.conformance.backends import CANDIDATES, Candidate

from .model import Model, Verb, orders, visible
from .site import Site

EXAMPLES = {"fake": (40, 25), "bubblewrap": (4, 12), "bubblewrap-user": (2, 12)}
"""Lives on each backend, and steps of each."""
VMS = st.sampled_from(["one", "two"])
WORDS = st.sampled_from(["red", "green"])
PLAIN = st.builds(Verb, st.sampled_from(["create", "start", "stop", "restart", "delete", "read"]))
NAMED = st.builds(Verb, st.sampled_from(["snapshot", "restore", "drop", "write"]), WORDS)
VERBS = PLAIN | NAMED | NAMED
LIFECYCLE = st.builds(Verb, st.sampled_from(["start", "stop", "restart", "delete"])) | st.builds(
    Verb, st.sampled_from(["snapshot", "restore"]), WORDS
)
"""What may be asked for at the same time.  An execution beside a stop may or may not come first, and be ended
half way: no order of whole verbs describes it."""


class VMs(RuleBasedStateMachine):
    """One server's life.  What happened at the same time may leave more than one model possible; what the
    VM does later tells which it was.

    open_site: set by the test.
    """

    open_site: Callable[[], Site]

    def __init__(self) -> None:
        super().__init__()
        self.site = type(self).open_site()
        self.possible: dict[str, list[Model | None]] = {"one": [None], "two": [None]}
        self._ask("one", [Verb("create")])  # else a short life is spent on VMs that are not there

    def teardown(self) -> None:
        self.site.close()

    @rule(vm=VMS, verb=VERBS)
    def one_by_one(self, vm: str, verb: Verb) -> None:
        self._ask(vm, [verb])

    @rule(vm=VMS, verbs=st.lists(LIFECYCLE, min_size=2, max_size=3))
    def at_the_same_time(self, vm: str, verbs: list[Verb]) -> None:
        self._ask(vm, verbs)

    @rule()
    def another_server(self) -> None:
        self.site.another_server()

    @invariant()
    def they_are_as_a_model_says(self) -> None:
        for vm, models in self.possible.items():
            seen = self.site.seen(vm)
            assert any(visible(model) == seen for model in models), f"{vm} is {seen}, not one of {models}"
            self.possible[vm] = [model for model in models if visible(model) == seen]

    def _ask(self, vm: str, verbs: list[Verb]) -> None:
        answers = self.site.ask(vm, verbs)
        after: list[Model | None] = []
        for before in self.possible[vm]:
            after += [model for model, told in orders(before, verbs) if told == answers]
        assert after, f"no order of {verbs} from any of {self.possible[vm]} gives {answers}"
        self.possible[vm] = [model for place, model in enumerate(after) if model not in after[:place]]


@pytest.fixture
def candidate(request: pytest.FixtureRequest) -> Candidate:
    """The backend of this name; skipped, or an error where it is required, if it is not here."""
    found = next(one for one in CANDIDATES if one.name == request.param)
    problem = found.probe()
    if problem is not None:
        if found.name in request.config.getoption("--require-backend"):
            pytest.fail(f"{found.name} is required: {problem}")
        pytest.skip(f"{found.name}: {problem}")
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("candidate", EXAMPLES, indirect=True)
def test_lives_of_vms(candidate: Candidate) -> None:
    lives, steps = EXAMPLES[candidate.name]
    with start_blocking_portal() as portal:
        VMs.open_site = staticmethod(lambda: Site(candidate, portal))
        run_state_machine_as_test(
            VMs,
            settings=settings(
                max_examples=lives,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_orders_of_a_stop_and_a_start() -> None:
    """The model itself: what it allows of two verbs at once, and what it does not."""
    stop, start = Verb("stop"), Verb("start")
    ends = {model.state for model, _ in orders(Model(), [stop, start]) if model is not None}
    assert ends == {"running", "stopped"}
    answers = [told for _, told in orders(Model(), [stop, Verb("delete")])]
    assert answers == [{0: "stopped", 1: "deleted"}, {1: "deleted", 0: "VMNotFound"}]
