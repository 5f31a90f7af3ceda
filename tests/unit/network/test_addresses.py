from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmpool.network.addresses import NAT64, REFUSED_IPV4, REFUSED_IPV6, Range, parse, plain, refused_range

PUBLIC = ("1.1.1.1", "8.8.8.8", "151.101.0.223", "2606:4700::1111", "2a04:4e42::223", "64:ff9b::808:808")
CLOSED = {
    "0.0.0.0": "0.0.0.0/8",
    "10.255.255.255": "10.0.0.0/8",
    "100.64.0.1": "100.64.0.0/10",
    "100.100.100.200": "100.64.0.0/10",  # a cloud's metadata
    "127.0.0.1": "127.0.0.0/8",
    "127.255.255.254": "127.0.0.0/8",
    "168.63.129.16": "168.63.129.16/32",
    "169.254.169.254": "169.254.169.254/32",
    "169.254.0.1": "169.254.0.0/16",
    "172.16.0.1": "172.16.0.0/12",
    "172.31.255.255": "172.16.0.0/12",
    "192.0.0.192": "192.0.0.0/24",
    "192.0.2.1": "192.0.2.0/24",
    "192.168.1.1": "192.168.0.0/16",
    "198.18.0.1": "198.18.0.0/15",
    "198.51.100.1": "198.51.100.0/24",
    "203.0.113.1": "203.0.113.0/24",
    "224.0.0.1": "224.0.0.0/4",
    "240.0.0.1": "240.0.0.0/4",
    "255.255.255.255": "255.255.255.255/32",
    "::": "::/128",
    "::1": "::1/128",
    "::7f00:1": "::/96",
    "::ffff:127.0.0.1": "127.0.0.0/8",
    "::ffff:169.254.169.254": "169.254.169.254/32",
    "::ffff:0:127.0.0.1": "::ffff:0:0:0/96",
    "64:ff9b::127.0.0.1": "127.0.0.0/8",
    "64:ff9b::a9fe:a9fe": "169.254.169.254/32",
    "64:ff9b:1::808:808": "64:ff9b:1::/48",
    "100::1": "100::/64",
    "2001::1": "2001::/32",
    "2001:10::1": "2001::/23",
    "2001:db8::1": "2001:db8::/32",
    "2002:7f00:1::": "2002::/16",
    "2606:4700::5efe:10.0.0.1": "10.0.0.0/8",
    "2606:4700::200:5efe:a00:1": "10.0.0.0/8",
    "3fff::1": "3fff::/20",
    "5f00::1": "4000::/2",
    "fc00::1": "fc00::/7",
    "fd00:ec2::254": "fc00::/7",
    "fe80::1": "fe80::/10",
    "fec0::1": "fec0::/10",
    "ff02::1": "ff00::/8",
}


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_open(text: str) -> None:
    assert refused_range(ip_address(text)) is None


@pytest.mark.parametrize(("text", "network"), CLOSED.items())
def test_closed_ranges_are_named(text: str, network: str) -> None:
    found = refused_range(ip_address(text))
    assert found is not None
    assert str(found.network) == network


@pytest.mark.parametrize("one", (*REFUSED_IPV4, *REFUSED_IPV6), ids=str)
def test_the_whole_of_every_range_is_closed(one: Range) -> None:
    network = one.network
    assert refused_range(network[0]) is not None
    assert refused_range(network[-1]) is not None


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_ipv6_is_open_only_in_global_unicast_and_nat64(address: IPv6Address) -> None:
    if refused_range(address) is None:
        assert address in IPv6Network("2000::/3") or address in NAT64


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_is_judged_alike_however_it_is_written(address: IPv4Address) -> None:
    mapped = ip_address(f"::ffff:{address}")
    assert plain(mapped) == address
    assert refused_range(mapped) == refused_range(address) == refused_range(ip_address(f"64:ff9b::{address}"))


@pytest.mark.parametrize("text", ["", "1.2.3", "0177.0.0.1", "2130706433", "fe80::1%eth0", "::1%1", "a.b"])
def test_what_is_no_address(text: str) -> None:
    assert parse(text) is None
