from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmpool.domain.network import NetworkPolicy
from vmpool.errors import InvalidRequest
from vmpool.network.addresses import Address, plain, readings, refused_range
from vmpool.network.destinations import BadDestination, Destination
from vmpool.network.limits import NetworkLimits, Rate
from vmpool.network.policy import Allowed, Policy
from vmpool.network.rules import admissions, parse_rule

PUBLIC, OTHER, PRIVATE, HOSTS = "1.1.1.1", "2606:4700::1111", "10.1.2.3", "9.9.9.9"


def policy(allow: tuple[str, ...] = (), deny: tuple[str, ...] = (), admit: tuple[str, ...] = ()) -> Policy:
    rules = admissions("network.admit", admit)
    return Policy(NetworkPolicy(allow=allow, deny=deny), rules, lambda address: str(address) == HOSTS)


def rule_at(of: Policy, asked: str, address: str) -> str:
    """What decides, first for what was asked for and then at an address; refusals with a minus."""
    to = Destination.parse(asked)
    before = of.before(to)
    if before is not None:
        return f"-{before.rule}"
    at = of.at(to, ip_address(address))
    return at.rule if isinstance(at, Allowed) else f"-{at.rule}"


@pytest.mark.parametrize(
    ("allow", "deny", "asked", "address", "decides"),
    [
        ([], [], "example.org:443", PUBLIC, "public"),
        ([], [], "example.org:443", PRIVATE, "-range 10.0.0.0/8"),
        ([], [], "localhost:80", "127.0.0.1", "-range 127.0.0.0/8"),
        ([], [], "example.org:443", HOSTS, "-host"),
        ([], [], "[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", "-range 10.0.0.0/8"),
        (["example.org"], [], "example.org:443", PUBLIC, "allow example.org"),
        (["example.org"], [], "EXAMPLE.org.:443", PUBLIC, "allow example.org"),
        (["example.org"], [], "www.example.org:443", PUBLIC, "-not in allow"),
        (["example.org"], [], "notexample.org:443", PUBLIC, "-not in allow"),
        (["example.org"], [], f"{PUBLIC}:443", PUBLIC, "-not in allow"),
        (["example.org"], [], "example.org:443", PRIVATE, "-range 10.0.0.0/8"),
        (["*.example.org"], [], "a.b.example.org:443", PUBLIC, "allow *.example.org"),
        (["*.example.org"], [], "example.org:443", PUBLIC, "-not in allow"),
        (["example.org:443"], [], "example.org:80", PUBLIC, "-not in allow"),
        (["1.1.1.0/24"], [], "example.org:80", PUBLIC, "allow 1.1.1.0/24"),
        (["1.1.1.0/24"], [], f"[{OTHER}]:80", OTHER, "-not in allow"),
        (["[2606:4700::/32]:443"], [], f"[{OTHER}]:443", OTHER, "allow [2606:4700::/32]:443"),
        (["[2606:4700::/32]:443"], [], f"[{OTHER}]:444", OTHER, "-not in allow"),
        (["10.0.0.0/8"], [], "example.org:80", PRIVATE, "-range 10.0.0.0/8"),
        (["*"], [], "example.org:80", PUBLIC, "allow *"),
        (["*"], [], "example.org:80", PRIVATE, "-range 10.0.0.0/8"),
        (["example.org"], ["example.org"], "example.org:80", PUBLIC, "-deny example.org"),
        ([], ["*"], "example.org:80", PUBLIC, "-deny *"),
        ([], ["*.org"], "example.org:80", PUBLIC, "-deny *.org"),
        ([], ["*.org:25"], "example.org:80", PUBLIC, "public"),
        ([], ["1.1.1.1"], "example.org:80", PUBLIC, "-deny 1.1.1.1"),
        ([], ["::ffff:1.1.1.1"], "example.org:80", PUBLIC, "-deny ::ffff:1.1.1.1"),
        (["example.org"], ["1.0.0.0/8"], "example.org:80", PUBLIC, "-deny 1.0.0.0/8"),
        ([], ["1.0.0.0/8"], "[64:ff9b::1.1.1.1]:80", "64:ff9b::1.1.1.1", "-deny 1.0.0.0/8"),
        ([], ["1.0.0.0/8"], "example.org:80", "64:ff9b::1.1.1.1", "-deny 1.0.0.0/8"),
        ([], ["1.1.1.1:25"], "example.org:80", "64:ff9b::1.1.1.1", "public"),
        ([], ["1.1.1.1"], "example.org:80", "2606:4700::5efe:101:101", "-deny 1.1.1.1"),
        ([], ["64:ff9b::/96"], "example.org:80", "64:ff9b::1.1.1.1", "-deny 64:ff9b::/96"),
        ([], [], "example.org:80", f"64:ff9b::{HOSTS}", "-host"),
        ([], [], "example.org:80", f"::ffff:{HOSTS}", "-host"),
    ],
)
def test_decisions(allow: list[str], deny: list[str], asked: str, address: str, decides: str) -> None:
    assert rule_at(policy(tuple(allow), tuple(deny)), asked, address) == decides


@pytest.mark.parametrize(
    ("admit", "allow", "deny", "port", "decides"),
    [
        ("10.1.0.0/16", [], [], 80, "admit 10.1.0.0/16"),
        ("10.1.0.0/16:443", [], [], 80, "-range 10.0.0.0/8"),
        ("10.2.0.0/16", [], [], 80, "-range 10.0.0.0/8"),
        ("10.1.0.0/16", [], ["*.corp"], 80, "-deny *.corp"),
        ("10.1.0.0/16", ["other.org"], [], 80, "-not in allow"),
        ("10.1.0.0/16", ["pypi.corp"], [], 80, "allow pypi.corp"),
    ],
)
def test_the_operator_admits_addresses_and_the_vms_lists_hold(
    admit: str, allow: list[str], deny: list[str], port: int, decides: str
) -> None:
    judged = rule_at(policy(tuple(allow), tuple(deny), (admit,)), f"pypi.corp:{port}", PRIVATE)
    assert judged == decides


@pytest.mark.parametrize(
    ("admit", "decides"),
    [
        ([HOSTS], f"admit {HOSTS}"),
        ([f"{HOSTS}/32"], f"admit {HOSTS}/32"),
        ([f"{HOSTS}:80"], f"admit {HOSTS}:80"),
        ([f"{HOSTS}:81"], "-host"),
        (["9.9.9.0/24"], "-host"),
        (["0.0.0.0/0"], "-host"),
        (["9.9.9.0/24", HOSTS], f"admit {HOSTS}"),
    ],
)
def test_only_an_address_by_itself_admits_the_hosts_own(admit: list[str], decides: str) -> None:
    assert rule_at(policy(admit=tuple(admit)), f"{HOSTS}:80", HOSTS) == decides


def test_admitting_loopback_can_only_mean_the_host() -> None:
    of = Policy(NetworkPolicy(), admissions("network.admit", ("127.0.0.0/8",)), lambda _: True)
    assert rule_at(of, "127.0.0.1:80", "127.0.0.1") == "admit 127.0.0.0/8"


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(addresses, st.integers(1, 65535), st.lists(addresses.map(str), max_size=3))
def test_no_list_of_a_user_opens_a_closed_address(address: Address, port: int, allow: list[str]) -> None:
    of = policy((*allow, str(address), "*", "example.org"))
    judged = of.at(Destination.of("example.org", port), address)
    assert isinstance(judged, Allowed) == (
        refused_range(address) is None and HOSTS not in map(str, readings(address))
    )


@given(addresses.map(plain), st.integers(0, 128))
def test_deny_wins_over_everything(address: Address, length: int) -> None:
    prefix = min(length, address.max_prefixlen)
    network = str(ip_network(f"{address}/{prefix}", strict=False))
    of = policy(("*", str(address)), (network,), (str(address),))
    assert not isinstance(of.at(Destination.of("example.org", 80), address), Allowed)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "*.", "a b", "*example.org", "a.*.org", "-a.org", "a..b", "münchen.de", "a" * 64,
        "a.org:0", "a.org:x", "a.org:65536", "http://a.org", "10.0.0.1/8", "10.0.0.0/33",
        "[::1", "::1%eth0", "[fe80::%1/64]:80",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        policy(("example.org", text))
    assert caught.value.context["field"] == "network_policy.allow.1"


def test_names_prove_nothing_to_the_operator() -> None:
    with pytest.raises(InvalidRequest, match="must be an address or a CIDR"):
        policy(admit=("mirror.example.org",))


@given(st.text(max_size=80))
def test_any_text_is_a_rule_or_is_refused_as_one(text: str) -> None:
    try:
        rule = parse_rule(text)
    except BadDestination:
        return
    assert rule.text == text
    assert (
        sum((rule.name is not None, rule.below is not None, rule.network is not None, rule.everything)) == 1
    )


def test_a_policy_narrows_the_operators_limits_and_never_widens_them() -> None:
    limits = NetworkLimits(max_connections=10, connections_per_second=5, max_bytes=100)
    asked = NetworkPolicy(max_connections=20, connections_per_second=2, max_bytes=50)
    within = limits.within(asked)
    assert (within.max_connections, within.connections_per_second, within.max_bytes) == (10, 2, 50)
    assert NetworkLimits().within(NetworkPolicy(max_bytes=7)).max_bytes == 7


def test_a_rate_lets_so_many_through_in_any_second() -> None:
    rate = Rate()
    assert [rate.take(3, 100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [rate.take(3, 100.4) for _ in range(2)] == [True, False]
    assert [rate.take(3, 200.0) for _ in range(5)] == [True, True, True, False, False]


def test_a_policy_is_stored_as_it_is() -> None:
    whole = NetworkPolicy(("a.org",), ("b.org",), "lab", 1, 2, 3)
    assert NetworkPolicy.from_dict(whole.as_dict()) == whole
    assert NetworkPolicy().as_dict() == {}
    assert NetworkPolicy.from_dict({"of_a_later_version": 1}) == NetworkPolicy()
