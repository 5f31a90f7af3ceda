"""One POST to a URL that somebody else wrote: to addresses that have been judged, and to nothing else.

What is judged is what is dialled: the name is resolved here, each address is looked at as a VM's
destination is (`vmpool.network.policy`), and the request goes to that very address.  No redirect is followed,
no proxy of the environment is used, and of the answer only its status is looked at.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

from vmpool.domain.network import NetworkPolicy
from vmpool.network.addresses import Address
from vmpool.network.destinations import BadDestination, Destination
from vmpool.network.policy import IsOwn, Policy, Refused
from vmpool.network.resolver import Lane, Resolver, Unresolved
from vmpool.network.rules import Rule

TRIED = 2
"""Addresses of one name that are tried."""


class NotPosted(Exception):
    """No answer came; the message is one clause for people."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart.  to: whom it names."""

    url: httpx.URL
    to: Destination

    @classmethod
    def of(cls, url: str) -> Target:
        """BadDestination where its host or port is none."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            return cls(httpx.URL(url), Destination.of(parts.hostname or "", port))
        except httpx.InvalidURL as error:
            raise BadDestination("is no URL") from error

    def at(self, address: Address) -> httpx.URL:
        """The same by address."""
        return self.url.copy_with(host=str(address))


class Poster:
    """Posts, `seconds` each at most.  admit: the operator's rules.  is_own: knows the host's addresses."""

    def __init__(self, resolver: Resolver, admit: tuple[Rule, ...], is_own: IsOwn, *, seconds: float) -> None:
        self._resolver = resolver
        self._policy = Policy(NetworkPolicy(), admit, is_own)
        self._seconds = seconds
        self._trust: ssl.SSLContext | None = None

    def refusal(self, target: Target) -> str | None:
        """Why it is refused by what it says itself; None where it names a host, which is looked at later."""
        address = target.to.address
        if address is None:
            return None
        judged = self._policy.at(target.to, address)
        return _why(target.to, judged) if isinstance(judged, Refused) else None

    async def post(self, target: Target, headers: Mapping[str, str], body: bytes, lane: Lane) -> int:
        """The answer's status; NotPosted.  lane: of whoever's URL it is."""
        with anyio.move_on_after(self._seconds):
            addresses = await self._allowed(target.to, lane)
            for last, address in zip((*(False,) * (len(addresses) - 1), True), addresses, strict=True):
                try:
                    return await self._send(target, address, headers, body)
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    if last:
                        raise NotPosted(f"could not connect: {_short(error)}") from error
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise NotPosted(f"broke off: {_short(error)}") from error
        raise NotPosted(f"did not answer within {self._seconds:g} seconds")

    async def _allowed(self, to: Destination, lane: Lane) -> list[Address]:
        """The addresses it may be posted to, at least one."""
        try:
            found = (to.address,) if to.address is not None else await self._resolver.resolve(to.host, lane)
        except Unresolved as error:
            raise NotPosted(str(error)) from error
        judged = [(address, self._policy.at(to, address)) for address in found]
        refused = next((verdict for _, verdict in judged if isinstance(verdict, Refused)), None)
        if refused is not None:  # all or nothing: a name that also leads inside is not to be trusted
            raise NotPosted(_why(to, refused))
        return [address for address, _ in judged][:TRIED]

    async def _send(self, target: Target, address: Address, headers: Mapping[str, str], body: bytes) -> int:
        if self._trust is None:
            self._trust = await anyio.to_thread.run_sync(ssl.create_default_context)
        async with httpx.AsyncClient(
            verify=self._trust,
            trust_env=False,
            follow_redirects=False,
            timeout=self._seconds,
            limits=httpx.Limits(max_keepalive_connections=0),
        ) as client:
            request = client.build_request(
                "POST",
                target.at(address),
                content=body,
                headers={**headers, "host": target.url.netloc.decode(), "accept-encoding": "identity"},
                extensions={"sni_hostname": target.to.host},
            )
            response = await client.send(request, stream=True)
            await response.aclose()  # what it says is nobody's business here
            return response.status_code


def _why(to: Destination, refused: Refused) -> str:
    return f"{refused.why.rstrip('.')}; only the server's operator can admit it (webhooks.admit)"


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
