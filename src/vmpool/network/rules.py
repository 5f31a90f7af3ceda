"""Rules: what an entry of an allow or deny list, or of the operator's `network.admit`, stands for.  Pure.

====================  ====================================================
rule                  stands for
====================  ====================================================
`example.org`         this name
`*.example.org`       every name below it, not itself
`*`                   everything
`192.0.2.7`           this address, however it was asked for
`192.0.2.0/24`        these addresses
`2001:db8::/32`       these
`example.org:443`     only this port; `192.0.2.0/24:443`, `[2001:db8::/32]:443`
====================  ====================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from vmpool.errors import InvalidRequest
from vmpool.network.addresses import Address, Network, parse, plain
from vmpool.network.destinations import BadDestination, Destination, hostname, split_port

MAX_RULES = 256
"""Of one list."""


@dataclass(frozen=True, slots=True)
class Rule:
    """text: as it was written.  Exactly one of name, below, network and `everything` says what it stands for.

    name: this name.  below: names that end in this, with its dot.  network: addresses.  port: None: all.
    """

    text: str
    name: str | None = None
    below: str | None = None
    network: Network | None = None
    port: int | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def everything(self) -> bool:
        """Whether it stands for every host."""
        return self.name is None and self.below is None and self.network is None

    def covers_name(self, to: Destination) -> bool:
        """Whether it covers the destination by what was asked for, whatever that resolves to."""
        if self.port not in (None, to.port):
            return False
        if self.everything:
            return True
        if to.address is not None:
            return self.covers_address(to.address, to.port)
        return to.host == self.name or (self.below is not None and to.host.endswith(self.below))

    def covers_address(self, address: Address, port: int) -> bool:
        """Whether it covers an address by itself."""
        return self.network is not None and self.port in (None, port) and plain(address) in self.network

    @property
    def is_exact(self) -> bool:
        """Whether who wrote it knew each address it stands for: a single one, or loopback."""
        return self.network is not None and (self.network.num_addresses == 1 or self.network.is_loopback)


def parse_rule(text: str) -> Rule:
    """One rule; BadDestination says in a clause what is wrong with it."""
    if not text.isascii():
        raise BadDestination("must be ASCII: write an international name as xn--...")
    if "/" in text or parse(text) is not None:
        return _network_rule(text, text, None)
    host, port = split_port(text)
    if host.startswith("[") and host.endswith("]"):
        return _network_rule(text, host[1:-1], port)
    if parse(host) is not None:
        return _network_rule(text, host, port)
    if host == "*":
        return Rule(text, port=port)
    if host.startswith("*."):
        return Rule(text, below=f".{hostname(host[2:])}", port=port)
    if "*" in host:
        raise BadDestination("may have '*' only as its first label")
    return Rule(text, name=hostname(host), port=port)


def _network_rule(text: str, network: str, port: int | None) -> Rule:
    if network.startswith("[") or (port is None and network.count(":") == 1):
        network, port = split_port(network)
        network = network.removeprefix("[").removesuffix("]")
    if "%" in network:
        raise BadDestination("must not name a zone")
    try:
        found = ip_network(network, strict=False)
    except ValueError:
        raise BadDestination("is no address, CIDR or name") from None
    if "/" in network and parse(network.partition("/")[0]) != plain(found.network_address):
        raise BadDestination(f"has bits past its length: the network is {found}")
    return Rule(text, network=_plain(found), port=port)


def _plain(network: Network) -> Network:
    """IPv4 addresses written as IPv6 ones as what they are, as `addresses.plain` has them."""
    first = plain(network.network_address)
    if first.version == network.version or network.prefixlen < 96:
        return network
    return ip_network(f"{first}/{network.prefixlen - 96}")


def parse_rules(field: str, texts: Iterable[str]) -> tuple[Rule, ...]:
    """A list of rules; InvalidRequest names `field` and the place of the one that is wrong."""
    rules = []
    for place, text in enumerate(texts):
        try:
            rules.append(parse_rule(text))
        except BadDestination as problem:
            raise InvalidRequest(f"{field}.{place}", f"'{text[:80]}' {problem}") from None
    if len(rules) > MAX_RULES:
        raise InvalidRequest(field, f"has {len(rules)} rules; {MAX_RULES} are allowed")
    return tuple(rules)


def admissions(field: str, texts: Iterable[str]) -> tuple[Rule, ...]:
    """The operator's `network.admit`: addresses only, because a name proves nothing; InvalidRequest."""
    rules = parse_rules(field, texts)
    for place, rule in enumerate(rules):
        if rule.network is None:
            raise InvalidRequest(f"{field}.{place}", f"'{rule.text[:80]}' must be an address or a CIDR")
    return rules
