"""Whether a VM may go somewhere: a pure function of its policy, the operator's admissions and an address.

Judged twice.  `before` looks at what was asked for, so that a name that is denied is not even resolved (a
lookup carries data out).  `at` looks at each address, and the address that was judged is the one dialled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmpool.domain.network import NetworkPolicy
from vmpool.domain.packages import PACKAGES_HOST
from vmpool.network.addresses import Address, readings, refused_range
from vmpool.network.destinations import Destination
from vmpool.network.rules import Rule, admissions, parse_rules

IsOwn = Callable[[Address], bool]
"""Whether an address is one of the host's own."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """rule: what allowed it."""

    rule: str


@dataclass(frozen=True, slots=True)
class Refused:
    """rule: what refused it, for the log.  why, remedy: a sentence each, for whoever is refused."""

    rule: str
    why: str
    remedy: str


BY_OPERATOR = "Only the server's operator can admit it (network.admit)."
HOST_BY_OPERATOR = "Only the server's operator can admit it, by the address itself (network.admit)."
BY_OWNER = "Change the VM's lists with 'vm network' or PUT /api/vms/{id}/network."
DEFAULT = "public"
"""The rule that allowed a connection where the VM has no allow list."""


class Policy:
    """One VM's policy, parsed.  admit: the operator's rules.  is_own: knows the host's own addresses."""

    def __init__(self, stored: NetworkPolicy, admit: tuple[Rule, ...], is_own: IsOwn) -> None:
        self._allow = parse_rules("network_policy.allow", stored.allow)
        self._deny = parse_rules("network_policy.deny", stored.deny)
        self._admit = admit
        self._is_own = is_own
        self._allows_addresses = any(rule.network is not None for rule in self._allow)

    def before(self, to: Destination) -> Refused | None:
        """What refuses it for what was asked for; None: it is to be resolved and judged by address."""
        denied = self._denied_name(to)
        if denied is not None:
            return denied
        if self._allow and not self._allows_addresses and self._allowed_name(to) is None:
            return _not_listed(to)
        return None

    def at(self, to: Destination, address: Address) -> Allowed | Refused:
        """Whether it may be reached at this address."""
        denied = self._denied_name(to) or self._denied_address(to, address)
        if denied is not None:
            return denied
        admitted = self._admitted(to, address)
        refused = None if admitted is not None else self._range(to, address)
        if admitted is None or not admitted.is_exact:
            refused = refused or self._host(to, address)
        if refused is not None:
            return refused
        if self._allow:
            allowed = self._allowed_name(to) or self._allowed_address(to, address)
            return _not_listed(to) if allowed is None else Allowed(f"allow {allowed}")
        return Allowed(DEFAULT if admitted is None else f"admit {admitted}")

    def peer(self, to: Destination) -> Allowed | Refused:
        """Whether it may reach a VM of its group by this name: being in the group allows it.

        The server's own registry goes the same way, but an allow list has to name it: which packages are
        asked for is seen outside.
        """
        denied = self._denied_name(to)
        if denied is not None or to.host != PACKAGES_HOST:
            return denied or Allowed("group")
        if not self._allow:
            return Allowed("packages")
        allowed = self._allowed_name(to)
        return _not_listed(to) if allowed is None else Allowed(f"allow {allowed}")

    def _admitted(self, to: Destination, address: Address) -> Rule | None:
        """The operator's rule for it, an exact one before others."""
        found = [rule for rule in self._admit if rule.covers_address(address, to.port)]
        return max(found, key=lambda rule: rule.is_exact, default=None)

    def _range(self, to: Destination, address: Address) -> Refused | None:
        """What is not public: no VM reaches it unless the operator admits it."""
        found = refused_range(address)
        if found is None:
            return None
        why = f"{to.host} is {address}, which is in {found}" if to.address is None else f"is in {found}"
        return Refused(f"range {found.network}", f"{_subject(to, why)}.", BY_OPERATOR)

    def _host(self, to: Destination, address: Address) -> Refused | None:
        """The host's own: a network that is admitted has not opened it, only an exact rule does."""
        own = next((one for one in readings(address) if self._is_own(one)), None)
        if own is None:
            return None
        why = _subject(to, f"{own} is an address of the host the server runs on")
        return Refused("host", f"{why}.", HOST_BY_OPERATOR)

    def _denied_name(self, to: Destination) -> Refused | None:
        return _denied(to, next((rule for rule in self._deny if rule.covers_name(to)), None))

    def _denied_address(self, to: Destination, address: Address) -> Refused | None:
        for one in readings(address):
            for rule in self._deny:
                if rule.covers_address(one, to.port):
                    return _denied(to, rule)
        return None

    def _allowed_name(self, to: Destination) -> Rule | None:
        return next((rule for rule in self._allow if rule.covers_name(to)), None)

    def _allowed_address(self, to: Destination, address: Address) -> Rule | None:
        return next((rule for rule in self._allow if rule.covers_address(address, to.port)), None)


def _subject(to: Destination, why: str) -> str:
    return f"{to} {why}" if why.startswith("is ") else f"{to}: {why}"


def _denied(to: Destination, rule: Rule | None) -> Refused | None:
    if rule is None:
        return None
    return Refused(f"deny {rule}", f"{to} is denied by the VM's rule '{rule}'.", BY_OWNER)


def _not_listed(to: Destination) -> Refused:
    return Refused("not in allow", f"{to} is not in the VM's allow list.", BY_OWNER)


def check(stored: NetworkPolicy) -> None:
    """InvalidRequest where a rule of it is none."""
    parse_rules("network_policy.allow", stored.allow)
    parse_rules("network_policy.deny", stored.deny)


__all__ = ["Allowed", "IsOwn", "Policy", "Refused", "admissions", "check"]
