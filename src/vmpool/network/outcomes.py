"""Why a connection was not made, in the words of everybody who has to hear it: HTTP, SOCKS and the log."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from vmpool.domain.network import NetworkVerdict
from vmpool.network.addresses import Address
from vmpool.network.destinations import Destination
from vmpool.network.policy import Refused
from vmpool.network.socks import Reply


@dataclass(frozen=True, slots=True)
class Outcome:
    """status, phrase: HTTP's status line.  text: for people.  reply: SOCKS's.  retry_after: seconds.

    address: the one that was refused or did not answer.
    """

    verdict: NetworkVerdict
    rule: str
    status: int
    phrase: str
    text: str
    reply: Reply
    retry_after: int | None = None
    address: Address | None = None


def refused(by: Refused) -> Outcome:
    """The policy forbids it."""
    return Outcome(
        NetworkVerdict.REFUSED,
        by.rule,
        403,
        "Forbidden by the network policy of this VM",
        f"vmpool: {by.why} {by.remedy}",
        Reply.NOT_ALLOWED,
    )


def gone(to: Destination) -> Outcome:
    """The name is a VM's, and there is none of that name in the group."""
    return refused(
        Refused(
            "no such VM in the group",
            f"{to.host} is no running VM of this VM's group.",
            "VMs reach one another when their network policies name one group.",
        )
    )


def busy(rule: str, why: str, *, later: bool = True) -> Outcome:
    """A limit is reached.  later: whether waiting helps."""
    return Outcome(
        NetworkVerdict.REFUSED,
        rule,
        429 if later else 403,
        f"Limit of this VM reached ({rule})",
        f"vmpool: the VM's limit {rule} is reached: {why}.",
        Reply.NOT_ALLOWED,
        1 if later else None,
    )


def unresolved(why: str) -> Outcome:
    """The name has no address."""
    return Outcome(
        NetworkVerdict.FAILED,
        "unresolved",
        502,
        "Name not resolved",
        f"vmpool: {why}.",
        Reply.HOST_UNREACHABLE,
    )


_BY_ERRNO = {
    errno.ECONNREFUSED: (502, "Connection refused by the destination", Reply.REFUSED),
    errno.ENETUNREACH: (502, "Network unreachable", Reply.NETWORK_UNREACHABLE),
    errno.ETIMEDOUT: (504, "Destination timed out", Reply.TIMED_OUT),
}
_OTHERWISE = (502, "Destination unreachable", Reply.HOST_UNREACHABLE)


def unreachable(to: Destination, number: int) -> Outcome:
    """It was allowed, and nobody answered.  number: errno."""
    status, phrase, reply = _BY_ERRNO.get(number, _OTHERWISE)
    rule = errno.errorcode.get(number, "unreachable").lower()
    text = f"vmpool: {to}: {phrase[0].lower()}{phrase[1:]}."
    return Outcome(NetworkVerdict.FAILED, rule, status, phrase, text, reply)
