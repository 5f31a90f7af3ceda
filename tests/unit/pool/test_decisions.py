"""The pure parts, by tables."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from vmpool.backends.base import BackendInfo, Machine, MachineKey, MachineState
from vmpool.domain import VM, Census, ExecutionRequest, Limits, VMState
from vmpool.domain.vm import ARROWS
from vmpool.errors import InvalidRequest, IsolationUnavailable, PoolFull, QuotaExceeded, VMPoolError
from vmpool.pool.admission import admit
from vmpool.pool.expiry import Due, due, last_used
from vmpool.pool.repair import Repair, repair
from vmpool.pool.requests import check_execution, check_limits, chosen_isolation, offered_isolations
from vmpool.pool.runner import BASE_ENV, PROXY_ENV, RLIMITS, language_of, process_spec
from vmpool.pool.settings import PoolSettings

NOW = datetime(2026, 1, 2, 3, 4, 5)


def a_vm(state: VMState = VMState.RUNNING, language: str = "python", **more: object) -> VM:
    fields: dict[str, object] = {
        "id": 7,
        "user_id": 1,
        "name": "box",
        "state": state,
        "language": language,
        "template": language,
        "limits": Limits(),
        "backend": "fake",
        "isolation": "none",
        "created_at": NOW,
    }
    return VM(**{**fields, **more})  # type: ignore[arg-type]


class TestAdmission:
    """At most 3 VMs a user, 5 in all, memory up to 2 x 1000 MB."""

    settings = PoolSettings(max_vms_per_user=3, max_total_vms=5, memory_overcommit=2.0)

    @pytest.mark.parametrize(
        ("vms", "own", "memory", "asked", "refusal"),
        [
            (0, 0, 0, 512, None),
            (2, 2, 1024, 512, None),
            (3, 3, 0, 512, QuotaExceeded),
            (5, 3, 2000, 512, QuotaExceeded),  # the user's own limit is named first
            (5, 0, 0, 512, "total_vms"),
            (5, 0, 2000, 512, "total_vms"),
            (4, 0, 1488, 512, None),
            (4, 0, 1489, 512, "memory"),
            (0, 0, 0, 2001, "memory"),
        ],
    )
    def test_first_the_quota_then_the_host(
        self, vms: int, own: int, memory: int, asked: int, refusal: str | type[VMPoolError] | None
    ) -> None:
        census = Census(vms=vms, of_user=own, memory=memory, cpu=1000.0, disk=10**9)
        limits = Limits(memory=asked, cpu=64, disk=10**6)
        if refusal is None:
            admit(census, limits, self.settings, 1000)
        elif refusal is QuotaExceeded:
            with pytest.raises(QuotaExceeded):
                admit(census, limits, self.settings, 1000)
        else:
            with pytest.raises(PoolFull) as full:
                admit(census, limits, self.settings, 1000)
            assert full.value.context["rule"] == refusal
            assert full.value.retry_after


def offering(*isolations: str, own: str) -> BackendInfo:
    return BackendInfo("docker", "1", own, "", (), {}, (), isolations)


class TestIsolation:
    """What is set is also the least: nobody can ask for less than the operator thinks right."""

    ALL = offering("gvisor", "container", "microvm", own="container")

    @pytest.mark.parametrize(
        ("asked", "setting", "info", "chosen"),
        [
            (None, None, ALL, "container"),
            ("gvisor", None, ALL, "gvisor"),
            ("microvm", "gvisor", ALL, "microvm"),
            (None, "gvisor", ALL, "gvisor"),
            ("container", "gvisor", ALL, None),
            ("namespaces", None, ALL, None),
            ("gvisor", None, offering("container", own="container"), None),
            (None, "microvm", offering("container", own="container"), None),
            ("container", None, offering("container", "gvisor", own="gvisor"), None),
            (None, None, offering(own="none"), "none"),
        ],
    )
    def test_the_wall(
        self, asked: str | None, setting: str | None, info: BackendInfo, chosen: str | None
    ) -> None:
        settings = PoolSettings(isolation=setting)
        if chosen is None:
            with pytest.raises(IsolationUnavailable) as refused:
                chosen_isolation(asked, info, settings)
            assert refused.value.context["field"] == "isolation"
        else:
            assert chosen_isolation(asked, info, settings) == chosen

    def test_what_is_offered_is_the_weakest_first(self) -> None:
        assert offered_isolations(self.ALL, PoolSettings()) == ("container", "gvisor", "microvm")
        assert offered_isolations(self.ALL, PoolSettings(isolation="gvisor")) == ("gvisor", "microvm")


class TestProcessSpec:
    def test_an_interpreted_language_finds_what_lies_in_the_working_directory(self) -> None:
        spec = process_spec(a_vm(), ExecutionRequest(code="import mine", cwd="project"), 12)
        assert spec.cwd == "/home/user/project"
        assert spec.source == ("/home/user/project/.vmpool-12.py", b"import mine")
        assert spec.argv == ("python3", "/home/user/project/.vmpool-12.py")
        assert (spec.scratch, spec.build, spec.warm) == (None, (), "python")

    def test_a_compiled_language_gets_a_directory_of_its_own(self) -> None:
        spec = process_spec(a_vm(language="go"), ExecutionRequest(code="package main"), 12)
        assert (spec.cwd, spec.scratch) == ("/home/user", "/tmp/.vmpool-12")
        assert spec.source == ("/tmp/.vmpool-12/main.go", b"package main")
        assert spec.build[-5:] == ("go", "build", "-o", "/tmp/.vmpool-12/main", "/tmp/.vmpool-12/main.go")
        assert (spec.argv, spec.warm) == (("/tmp/.vmpool-12/main",), None)

    @pytest.mark.parametrize(
        ("language", "code", "env"),
        [
            ("go", 'package main\nimport "C"', {}),
            ("go", "//go:embed words.txt", {}),
            ("go", "package main", {"GOFLAGS": "-race"}),
            ("rust", 'const X: &str = include_str!("/home/user/x");', {}),
            ("rust", '#[path = "/home/user/x.rs"] mod x;', {}),
            ("rust", "mod x;", {}),
            ("rust", "fn main() { std::fs::read(file!()).unwrap(); }", {}),
            ("go", "_, file, _, _ := runtime.Caller(0)", {}),
        ],
    )
    def test_what_takes_in_other_files_is_always_built(
        self, language: str, code: str, env: dict[str, str]
    ) -> None:
        spec = process_spec(a_vm(language=language), ExecutionRequest(code=code, env=env), 12)
        assert spec.build[0] == {"go": "go", "rust": "rustc"}[language]

    def test_a_build_is_named_by_all_that_makes_it(self) -> None:
        def key(code: str, number: int, env: dict[str, str]) -> str:
            request = ExecutionRequest(code=code, env=env, language="rust")
            return process_spec(a_vm(), request, number).build[4]

        assert key("fn main() {}", 1, {}) == key("fn main() {}", 2, {})
        others = {key("fn main() { }", 1, {}), key("fn main() {}", 1, {"RUSTC_BOOTSTRAP": "1"})}
        assert len(others | {key("fn main() {}", 1, {})}) == 3

    def test_a_jvm_is_told_the_vms_memory(self) -> None:
        vm = a_vm(language="java", limits=Limits(memory=768))
        spec = process_spec(vm, ExecutionRequest(code="class Main {}"), 12)
        assert spec.argv == ("java", "-XX:MaxRAM=768m", "/tmp/.vmpool-12/Main.java")
        assert spec.build == ()

    def test_a_directory_named_like_a_placeholder_is_itself(self) -> None:
        spec = process_spec(a_vm(), ExecutionRequest(code="", cwd="{memory}"), 12)
        assert spec.argv == ("python3", "/home/user/{memory}/.vmpool-12.py")

    def test_a_command_is_a_line_for_the_shell(self) -> None:
        spec = process_spec(a_vm(), ExecutionRequest(command="ls | wc -l", cwd="/tmp", stdin="é\n"), 12)
        assert spec.argv == ("/bin/sh", "-c", "ls | wc -l")
        assert (spec.cwd, spec.source, spec.scratch, spec.stdin) == ("/tmp", None, None, "é\n".encode())

    def test_the_request_overrides_the_vm_and_the_vm_the_base(self) -> None:
        vm = a_vm(env={"A": "vm", "B": "vm", "LANG": "vm"})
        spec = process_spec(vm, ExecutionRequest(code="", env={"B": "request"}), 1)
        assert spec.env == {**BASE_ENV, "A": "vm", "B": "request", "LANG": "vm"}
        assert spec.rlimits == RLIMITS

    def test_a_filtered_network_is_told_to_programs_that_ask_for_a_proxy(self) -> None:
        vm = a_vm(network="filtered", env={"no_proxy": "vm"})
        spec = process_spec(vm, ExecutionRequest(code=""), 1)
        assert spec.env == {**BASE_ENV, **PROXY_ENV, "no_proxy": "vm"}
        assert spec.env["HTTPS_PROXY"] == spec.env["https_proxy"] == "http://127.0.0.1:3128"
        assert not PROXY_ENV.keys() & process_spec(a_vm(), ExecutionRequest(code=""), 1).env.keys()

    @pytest.mark.parametrize(
        ("env", "warm"),
        [({}, True), ({"A": "1", "APATH": "1"}, True), ({"PYTHONPATH": "x"}, False), ({"TZ": "x"}, False)],
    )
    def test_a_warm_interpreter_is_used_where_it_does_the_same(self, env: dict[str, str], warm: bool) -> None:
        spec = process_spec(a_vm(), ExecutionRequest(code="", env=env), 1)
        assert spec.warm == ("python" if warm else None)

    def test_the_language_may_be_another_than_the_vms(self) -> None:
        request = ExecutionRequest(code="echo", language="SH")
        assert language_of(a_vm(), request) == "bash"
        assert process_spec(a_vm(), request, 3).argv == ("bash", "/home/user/.vmpool-3.sh")
        assert language_of(a_vm(language="go"), ExecutionRequest(code="")) == "go"


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("code", ExecutionRequest()),
        ("code", ExecutionRequest(code="a", command="b")),
        ("code", ExecutionRequest(code="x" * 101)),
        ("code", ExecutionRequest(code="\ud800")),
        ("command", ExecutionRequest(command="x" * 101)),
        ("command", ExecutionRequest(command="a\0b")),
        ("stdin", ExecutionRequest(code="", stdin="x" * 101)),
        ("timeout", ExecutionRequest(code="", timeout=0)),
        ("timeout", ExecutionRequest(code="", timeout=601)),
        ("timeout", ExecutionRequest(code="", timeout=float("nan"))),
        ("cwd", ExecutionRequest(code="", cwd="")),
        ("cwd", ExecutionRequest(code="", cwd="a\0")),
        ("env.1A", ExecutionRequest(code="", env={"1A": ""})),
        ("env.A", ExecutionRequest(code="", env={"A": "x" * 200_000})),
    ],
)
def test_a_wrong_field_of_an_execution_is_named(field: str, request_: ExecutionRequest) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_execution(request_, PoolSettings(max_code=100, max_stdin=100))
    assert refusal.value.context["field"] == field


@pytest.mark.parametrize(
    ("asked", "settings", "said"),
    [
        (Limits(memory=1_234_567_890), PoolSettings(), "1234567890 must be at most 24105 MB here"),
        (Limits(disk=50_000_000), PoolSettings(), "50000000 must be at most 258020 MB here"),
        (Limits(disk=258_021), PoolSettings(), "258021 must be at most 258020 MB here"),
        (Limits(disk=5000), PoolSettings(max_disk=4999), "5000 must be at most 4999 MB here"),
    ],
)
def test_a_limit_beyond_the_host_is_refused_with_all_its_digits(
    asked: Limits, settings: PoolSettings, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        check_limits(asked, settings, host_cpus=2, host_memory=24105, host_disk=258_020)


def test_limits_up_to_the_host_s_or_the_operator_s_are_allowed() -> None:
    check_limits(Limits(disk=258_020), PoolSettings(), host_cpus=2, host_memory=24105, host_disk=258_020)
    wide = PoolSettings(max_disk=50_000_000)
    check_limits(Limits(), PoolSettings(), host_cpus=2, host_memory=24105, host_disk=192)
    check_limits(Limits(disk=50_000_000), wide, host_cpus=2, host_memory=24105, host_disk=258_020)


def machine(state: MachineState) -> Machine:
    return Machine(MachineKey(7), state, "id", "none")


class TestRepair:
    @pytest.mark.parametrize("seen", [None, *MachineState])
    @pytest.mark.parametrize(
        ("row", "what"),
        [
            (VMState.CREATING, Repair.FINISH_CREATE),
            (VMState.STARTING, Repair.FINISH_START),
            (VMState.STOPPING, Repair.FINISH_STOP),
            (VMState.DELETING, Repair.FINISH_DELETE),
            (VMState.RESTORING, Repair.UNDO_RESTORE),
        ],
    )
    def test_an_intent_nobody_works_on_is_finished_or_undone(
        self, row: VMState, what: Repair, seen: MachineState | None
    ) -> None:
        assert repair(row, machine(seen) if seen else None) is what

    @pytest.mark.parametrize(
        ("row", "seen", "what"),
        [
            (VMState.RUNNING, MachineState.RUNNING, None),
            (VMState.RUNNING, MachineState.STOPPED, Repair.MARK_STOPPED),
            (VMState.RUNNING, MachineState.CREATING, None),
            (VMState.RUNNING, None, Repair.MARK_GONE),
            (VMState.STOPPED, MachineState.STOPPED, None),
            (VMState.STOPPED, MachineState.RUNNING, Repair.STOP_AGAIN),
            (VMState.STOPPED, None, Repair.MARK_GONE),
            (VMState.ERROR, MachineState.RUNNING, None),
            (VMState.ERROR, None, None),
        ],
    )
    def test_a_fact_that_is_not_so_is_corrected(
        self, row: VMState, seen: MachineState | None, what: Repair | None
    ) -> None:
        assert repair(row, machine(seen) if seen else None) is what

    def test_every_state_in_which_work_is_announced_is_repaired(self) -> None:
        announced = {
            state for state in VMState if state.value.endswith("ing") and state is not VMState.RUNNING
        }
        assert all(repair(state, None) for state in announced)
        assert all(ARROWS[state] for state in announced)


class TestDue:
    @pytest.mark.parametrize(
        ("vm", "after", "in_flight", "what"),
        [
            (a_vm(ttl=60), 59, 0, None),
            (a_vm(ttl=60), 60, 3, Due.DELETE),
            (a_vm(VMState.STOPPED, ttl=60), 60, 0, Due.DELETE),
            (a_vm(VMState.STOPPING, ttl=60), 60, 0, None),
            (a_vm(idle_timeout=10), 10, 0, Due.STOP),
            (a_vm(idle_timeout=10), 10, 1, None),
            (a_vm(idle_timeout=10, last_used_at=NOW + timedelta(seconds=5)), 14, 0, None),
            (a_vm(idle_timeout=10, last_used_at=NOW + timedelta(seconds=5)), 15, 0, Due.STOP),
            (a_vm(idle_timeout=10, started_at=NOW + timedelta(seconds=5)), 14, 0, None),
            (a_vm(VMState.STOPPED, idle_timeout=10), 10, 0, None),
            (a_vm(idle_pause=10), 9, 0, None),
            (a_vm(idle_pause=10), 10, 0, Due.PAUSE),
            (a_vm(idle_pause=10), 10, 1, None),
            (a_vm(idle_pause=10, idle_timeout=10), 10, 0, Due.STOP),
            (a_vm(VMState.PAUSED, idle_pause=10, idle_timeout=10), 20, 0, None),
            (a_vm(VMState.PAUSED, ttl=60), 60, 0, Due.DELETE),
            (a_vm(), 10**8, 0, None),
        ],
    )
    def test_what_a_vms_times_ask_for(self, vm: VM, after: int, in_flight: int, what: Due | None) -> None:
        now = NOW + timedelta(seconds=after)
        age, idle = ((now - moment).total_seconds() for moment in (vm.created_at, last_used(vm)))
        assert due(vm, age, idle, in_flight) is what
