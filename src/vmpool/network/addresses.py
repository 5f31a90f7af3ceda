"""Addresses no VM reaches unless the operator admits them, each with the document that says what it is for.

This is a list of our own, not a library's idea of "global", which changes with the library.  IPv6 is open
only in what is assigned for global unicast (2000::/3), less what has a purpose of its own there.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Range:
    """A range of addresses.  what: in a few words, with the document it is defined by."""

    network: Network
    what: str

    def __str__(self) -> str:
        return f"{self.network} ({self.what})"


def _range(network: str, what: str) -> Range:
    return Range(ip_network(network), what)


REFUSED_IPV4 = (
    _range("0.0.0.0/8", "this network, RFC 1122"),
    _range("10.0.0.0/8", "private, RFC 1918"),
    _range("100.64.0.0/10", "shared by carriers, RFC 6598"),
    _range("127.0.0.0/8", "loopback, RFC 1122"),
    _range("169.254.169.254/32", "cloud metadata"),
    _range("169.254.0.0/16", "link-local, RFC 3927"),
    _range("168.63.129.16/32", "cloud metadata"),  # a public address that leads to the host
    _range("172.16.0.0/12", "private, RFC 1918"),
    _range("192.0.0.0/24", "protocol assignments, RFC 6890"),
    _range("192.0.2.0/24", "documentation, RFC 5737"),
    _range("192.88.99.0/24", "6to4 relays, RFC 7526"),
    _range("192.168.0.0/16", "private, RFC 1918"),
    _range("198.18.0.0/15", "benchmarks, RFC 2544"),
    _range("198.51.100.0/24", "documentation, RFC 5737"),
    _range("203.0.113.0/24", "documentation, RFC 5737"),
    _range("224.0.0.0/4", "multicast, RFC 5771"),
    _range("255.255.255.255/32", "broadcast, RFC 919"),
    _range("240.0.0.0/4", "reserved, RFC 1112"),
)
REFUSED_IPV6 = (
    _range("::/128", "unspecified, RFC 4291"),
    _range("::1/128", "loopback, RFC 4291"),
    _range("::/96", "IPv4-compatible, RFC 4291"),
    _range("::ffff:0:0/96", "IPv4-mapped, RFC 4291"),
    _range("::ffff:0:0:0/96", "IPv4-translated, RFC 2765"),
    _range("64:ff9b:1::/48", "local-use NAT64, RFC 8215"),
    _range("100::/64", "discard-only, RFC 6666"),
    _range("2001:db8::/32", "documentation, RFC 3849"),
    _range("2001::/32", "Teredo, RFC 4380"),
    _range("2001::/23", "protocol assignments, RFC 2928"),
    _range("2002::/16", "6to4, RFC 3056"),
    _range("3fff::/20", "documentation, RFC 9637"),
    _range("fc00::/7", "private, RFC 4193"),
    _range("fe80::/10", "link-local, RFC 4291"),
    _range("fec0::/10", "site-local, RFC 3879"),
    _range("ff00::/8", "multicast, RFC 4291"),
    _range("::/3", "not global unicast, RFC 4291"),
    _range("4000::/2", "not global unicast, RFC 4291"),
    _range("8000::/1", "not global unicast, RFC 4291"),
)
"""The first that holds an address names it."""

NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: stands for the IPv4 address in its last 32 bits, and is judged as that."""
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)


def plain(address: Address) -> Address:
    """An IPv4 address written as an IPv6 one (RFC 4291, IPv4-mapped) as what it is; others as they are."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def parse(text: str) -> Address | None:
    """The address a text is, in its plain form; None for anything else, one with a zone included."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return None
    return plain(address)


def refused_range(address: Address) -> Range | None:
    """The range for whose sake no VM reaches this address; None for a public one.

    An IPv6 address that carries an IPv4 one is refused for the sake of either.
    """
    address = plain(address)
    if isinstance(address, IPv4Address):
        return _first(REFUSED_IPV4, address)
    inner = _carried(address)
    found = None if inner is None else _first(REFUSED_IPV4, inner)
    if found is None and address not in NAT64:
        found = _first(REFUSED_IPV6, address)
    return found


def readings(address: Address) -> tuple[Address, ...]:
    """All that it may be delivered to: the address in its plain form, and an IPv4 one it carries."""
    address = plain(address)
    inner = _carried(address) if isinstance(address, IPv6Address) else None
    return (address,) if inner is None else (address, inner)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that NAT64 (RFC 6052) or ISATAP (RFC 5214) would lead to."""
    number = int(address)
    if address in NAT64 or (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return IPv4Address(number & 0xFFFF_FFFF)
    return None


def _first(ranges: tuple[Range, ...], address: Address) -> Range | None:
    return next((one for one in ranges if address in one.network), None)
