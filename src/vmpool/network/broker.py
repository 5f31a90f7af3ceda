"""One VM's broker: every connection its programs make is judged here, and made from here.

`serve` sees a connection through: what is asked for (`asking`), whether the limits let it, reaching where it
may go (`reach`), carrying (`relay`), and an entry in the journal whatever came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import anyio

from vmpool.domain.network import NetworkEntry, NetworkPolicy, NetworkVerdict
from vmpool.domain.packages import PACKAGES_HOST
from vmpool.network.addresses import Address
from vmpool.network.asking import Asking, Direct, Misunderstood, Secrets, ask
from vmpool.network.destinations import LONGEST_NAME, BadDestination, Destination
from vmpool.network.dialling import is_own
from vmpool.network.journal import Journal
from vmpool.network.limits import NetworkLimits, Rate
from vmpool.network.outcomes import Outcome, busy
from vmpool.network.policy import Allowed, IsOwn, Policy, Refused
from vmpool.network.reach import Peers, reach
from vmpool.network.relay import STREAM_ERRORS, GuestStream, Meter, Stream
from vmpool.network.resolver import Lane, Resolver
from vmpool.network.rules import Rule

ASKING_SECONDS = 30.0
"""A client has to say what it wants."""
ENDING_SECONDS = 5.0
"""For an answer to reach a guest that does not read, and for closing."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all brokers of a server share.  admit: the operator's rules.  clock: the time as naive UTC."""

    resolver: Resolver
    limits: NetworkLimits
    admit: tuple[Rule, ...]
    clock: Callable[[], datetime]
    is_own: IsOwn = is_own


@dataclass(eq=False, slots=True)
class _Flow:
    """One connection from being let through by the limits to its end.

    address: what was dialled, or refused; None for a VM of the group.  made: bytes can pass.
    """

    to: Destination
    meter: Meter
    address: Address | None = None
    made: bool = False
    cut: str | None = None

    def end(self, rule: str) -> None:
        """Cut it; rule: why."""
        self.cut = self.cut or rule
        self.meter.scope.cancel()


@dataclass(slots=True)
class _Account:
    """What becomes of one connection, for its entry."""

    at: datetime
    began: float
    via: Literal["proxy", "http", "connect", "socks", "direct"] = "proxy"
    to: Destination | None = None
    address: Address | None = None
    verdict: NetworkVerdict = NetworkVerdict.FAILED
    rule: str = "ended before it was made"
    meter: Meter | None = None
    host: str = ""
    port: int = 0


def _no_secrets(to: Destination) -> Mapping[bytes, bytes]:
    return {}


class Broker:
    """bytes_spent: what the VM has used of its `max_bytes` before, under an earlier server.

    secrets: what its requests may be given on their way out.
    """

    def __init__(
        self,
        around: Surroundings,
        policy: NetworkPolicy,
        peers: Peers,
        *,
        bytes_spent: int = 0,
        secrets: Secrets = _no_secrets,
    ) -> None:
        self.around = around
        self._peers = peers
        self._secrets = secrets
        self._rate = Rate()
        self._lane = Lane()
        self._serving = 0
        self._flows: set[_Flow] = set()
        self.journal = Journal()
        self.bytes_spent = bytes_spent
        self.change(policy)

    def change(self, policy: NetworkPolicy) -> None:
        """From now on this is the policy; connections it does not allow are cut.  InvalidRequest: no rule."""
        around = self.around
        self._policy = Policy(policy, around.admit, around.is_own)
        self.limits = around.limits.within(policy)
        self.review()

    def review(self) -> None:
        """Cut what is not allowed any more; to be called also when the group has changed."""
        for flow in list(self._flows):
            if flow.made:
                self._review(flow)

    def _review(self, flow: _Flow) -> None:
        judged = self._judge_again(flow)
        if isinstance(judged, Refused):
            flow.end(judged.rule)

    def _judge_again(self, flow: _Flow) -> Allowed | Refused:
        if flow.address is not None:
            return self._policy.before(flow.to) or self._policy.at(flow.to, flow.address)
        if self._peers.find(flow.to.host) is None:
            return Refused("no such VM in the group", "", "")
        return self._policy.peer(flow.to)

    async def serve(self, guest: GuestStream, direct: tuple[str, int] | None = None) -> None:
        """See one connection of the VM through to its end; never raises for what guest or network do.

        direct: host and port the program believes to have reached; None for a client that speaks to a proxy.
        """
        account = _Account(self.around.clock(), anyio.current_time())
        if direct is not None:
            account.via, account.host, account.port = "direct", direct[0][:LONGEST_NAME], direct[1]
        if self._serving >= 2 * self.limits.max_connections:  # those that have not yet said what they want
            guest.reset()
            self._write(account, NetworkVerdict.REFUSED, "max_connections")
            return
        self._serving += 1
        self.journal.totals.open += 1
        try:
            await self._serve(guest, direct, account)
        except STREAM_ERRORS:
            pass  # the guest went away; the account says how far it came
        finally:
            self._serving -= 1
            self.journal.totals.open -= 1
            self._write(account, account.verdict, account.rule)
            with anyio.move_on_after(ENDING_SECONDS, shield=True):
                await _close(guest)

    async def _serve(self, guest: GuestStream, direct: tuple[str, int] | None, account: _Account) -> None:
        try:
            asking = await self._asked(guest, direct, account)
        except Misunderstood as problem:
            account.verdict, account.rule = NetworkVerdict.REFUSED, problem.why
            await _say(guest, problem.answer)
            return
        if asking is None:
            return
        account.to, account.via, account.address = asking.to, asking.via, asking.to.address
        outcome = self._admit(asking.to)
        if outcome is None:
            outcome = await self._connect_and_carry(asking, guest, account)
        if outcome is not None:
            account.verdict, account.rule = outcome.verdict, outcome.rule
            with anyio.move_on_after(ENDING_SECONDS):
                await asking.refuse(outcome)

    async def _asked(
        self, guest: GuestStream, direct: tuple[str, int] | None, account: _Account
    ) -> Asking | None:
        """What the connection is for; None where it ended, or took too long, before it said so."""
        if direct is not None:
            try:
                return Direct(Destination.of(*direct), guest)
            except BadDestination as problem:
                guest.reset()
                account.verdict, account.rule = NetworkVerdict.REFUSED, str(problem)
                return None
        account.rule = "ended before it asked for anything"
        with anyio.move_on_after(ASKING_SECONDS):
            return await ask(guest)
        return None

    def _admit(self, to: Destination) -> Outcome | None:
        """Whether the limits let one more through.

        The registry on this server asks nobody outside for what it has, and a package manager asks it for
        hundreds of files at once: only how many are open counts there.
        """
        limits = self.limits
        if len(self._flows) >= limits.max_connections:
            return busy("max_connections", f"{limits.max_connections} connections are open")
        within = to.host == PACKAGES_HOST or self._rate.take(
            limits.connections_per_second, anyio.current_time()
        )
        if not within:
            return busy("connections_per_second", f"more than {limits.connections_per_second} in a second")
        if limits.max_bytes is not None and self.bytes_spent >= limits.max_bytes:
            return busy("max_bytes", f"all of its {limits.max_bytes} bytes are used", later=False)
        return None

    async def _connect_and_carry(
        self, asking: Asking, guest: GuestStream, account: _Account
    ) -> Outcome | None:
        """Make the connection and carry it; an Outcome where it was not made."""
        flow = _Flow(asking.to, Meter(self.limits.idle_timeout, self._spend))
        self._flows.add(flow)  # counts while it is being made
        try:
            resolver, timeout = self.around.resolver, self.limits.connect_timeout
            reached = await reach(flow.to, self._policy, self._peers, resolver, self._lane, timeout)
            flow.address = reached.address
            account.address = reached.address or account.address
            if isinstance(reached, Outcome):
                return reached
            account.meter, account.verdict, account.rule = flow.meter, NetworkVerdict.ALLOWED, reached.rule
            try:
                await self._carry(asking, guest, reached.stream, flow, account)
            finally:
                with anyio.move_on_after(ENDING_SECONDS, shield=True):
                    await _close(reached.stream)
        finally:
            self._flows.discard(flow)
        return None

    async def _carry(
        self, asking: Asking, guest: GuestStream, far: Stream, flow: _Flow, account: _Account
    ) -> None:
        flow.made = True
        self._review(flow)  # the policy may have changed while it was being made
        problem: str | None = None
        with flow.meter.scope as scope:
            flow.meter.touch()
            if flow.address is not None:  # never to another VM, whatever that is called
                asking.fill(self._secrets)
            problem = await asking.carry(far, flow.meter)
        if scope.cancelled_caught and flow.cut is None:
            flow.cut = "idle_timeout"
        if flow.cut is not None:
            account.verdict, account.rule = NetworkVerdict.CUT, flow.cut
            guest.reset()
        elif problem is not None:
            account.verdict, account.rule = NetworkVerdict.FAILED, problem

    def _spend(self, up: int, down: int) -> bool:
        """Bytes pass; whether they may."""
        self.journal.totals.bytes_up += up
        self.journal.totals.bytes_down += down
        self.bytes_spent += up + down
        most = self.limits.max_bytes
        if most is None or self.bytes_spent <= most:
            return True
        for flow in list(self._flows):
            flow.end("max_bytes")
        return False

    def _write(self, account: _Account, verdict: NetworkVerdict, rule: str) -> None:
        to, meter = account.to, account.meter
        self.journal.add(
            NetworkEntry(
                at=account.at,
                via=account.via,
                host=to.host if to is not None else account.host,
                port=to.port if to is not None else account.port,
                verdict=verdict,
                rule=rule,
                address=None if account.address is None else str(account.address),
                bytes_up=meter.up if meter is not None else 0,
                bytes_down=meter.down if meter is not None else 0,
                seconds=anyio.current_time() - account.began,
            )
        )


async def _say(guest: GuestStream, answer: bytes) -> None:
    """A last answer; a guest that does not read loses it."""
    with anyio.move_on_after(ENDING_SECONDS):
        if answer:
            await guest.send(answer)
        await guest.send_eof()


async def _close(stream: Stream) -> None:
    try:
        await stream.aclose()
    except STREAM_ERRORS:
        pass
