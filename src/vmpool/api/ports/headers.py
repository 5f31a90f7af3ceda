"""What of a request's headers goes on to a server in a VM, and what of its answer's comes back.  Pure.

RFC 9110, sections 7.6.1 (what concerns one connection only) and 7.6.3 (Via).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

Pairs = Iterable[tuple[bytes, bytes]]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
SHARE_HEADER: Final = b"x-vmpool-share"
OWN_COOKIES: Final = (b"vmpool", b"__host-vmpool", b"__secure-vmpool")
"""How the server's own cookies begin: no VM sees one or sets one."""

_NOT_TO_VM = frozenset(
    {
        b"host",
        b"expect",  # the server in front answers it
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-real-ip",
        SHARE_HEADER,
    }
)
_NOT_FROM_VM = frozenset({b"x-request-id", b"strict-transport-security", b"clear-site-data", b"alt-svc"})
"""Ours to say: the first by right, the others because they reach beyond the one host and port."""
_NOT_AT_OUR_ORIGIN = frozenset(
    {
        b"content-security-policy",
        b"content-security-policy-report-only",
        b"cross-origin-resource-policy",
        b"service-worker-allowed",
        b"x-content-type-options",
    }
)
_AT_OUR_ORIGIN = (
    (b"content-security-policy", b"sandbox; default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
_AT_ITS_OWN_ORIGIN = ((b"x-robots-tag", b"noindex"),)
_API_KEY = re.compile(rb"bearer\s+vmp_", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Visit:
    """How a request reached us, as far as the server in the VM is to know.

    host: what the client asked.  prefix: of the path, which is not passed on; empty where the port has a host
    of its own.
    """

    port: int
    host: bytes
    scheme: str
    client: str | None
    prefix: bytes = b""

    @property
    def at_our_origin(self) -> bool:
        """The answer counts as one of the API's own host."""
        return bool(self.prefix)


def to_vm(headers: Pairs, visit: Visit, upgrade: bytes | None = None) -> list[tuple[bytes, bytes]]:
    """A request's headers as they go on.  upgrade: the protocol it asks for, where it may have it."""
    headers = list(headers)
    dropped = _concerning_one_connection(headers) | _NOT_TO_VM
    host = b"localhost:%d" % visit.port if visit.at_our_origin else visit.host
    found = [(b"host", host)]
    for name, value in headers:
        if name in dropped or (name == b"authorization" and (visit.at_our_origin or _API_KEY.match(value))):
            continue
        if name == b"cookie":
            value = _without_ours(value)
            if not value:
                continue
        found.append((name, value))
    if any(name == b"transfer-encoding" for name, _ in headers):
        found.append((b"transfer-encoding", b"chunked"))
    if visit.client is not None:
        found.append((b"x-forwarded-for", visit.client.encode("ascii", "replace")))
    found.append((b"x-forwarded-host", visit.host))
    found.append((b"x-forwarded-proto", visit.scheme.encode("ascii")))
    if visit.prefix:
        found.append((b"x-forwarded-prefix", visit.prefix))
    found.append((b"via", b"1.1 vmpool"))
    if upgrade is None:
        found.append((b"connection", b"close"))
    else:
        found += ((b"connection", b"upgrade"), (b"upgrade", upgrade))
    return found


def from_vm(headers: Pairs, visit: Visit) -> list[tuple[bytes, bytes]]:
    """An answer's headers, their names in small letters, as they come back."""
    headers = list(headers)
    dropped = _concerning_one_connection(headers) | _NOT_FROM_VM
    if visit.at_our_origin:
        dropped |= _NOT_AT_OUR_ORIGIN
    found = []
    for name, value in headers:
        if name in dropped or (visit.at_our_origin and name.startswith(b"access-control-")):
            continue
        if name == b"set-cookie":
            cookie = _confined(value, visit)
            if cookie is not None:
                found.append((name, cookie))
        elif name in (b"location", b"content-location"):
            found.append((name, _moved(value, visit)))
        else:
            found.append((name, value))
    found += _AT_OUR_ORIGIN if visit.at_our_origin else _AT_ITS_OWN_ORIGIN
    if not any(name == b"referrer-policy" for name, _ in found):
        found.append((b"referrer-policy", b"same-origin"))
    return found


def _concerning_one_connection(headers: Pairs) -> frozenset[bytes]:
    named = (value for name, value in headers if name == b"connection")
    return HOP_BY_HOP | {word.strip().lower() for value in named for word in value.split(b",")}


def cookies(value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and the whole of each cookie in a Cookie header."""
    for pair in value.split(b";"):
        if pair.strip():
            yield pair.partition(b"=")[0].strip(), pair.strip()


def _without_ours(value: bytes) -> bytes:
    return b"; ".join(pair for name, pair in cookies(value) if not _is_ours(name))


def _is_ours(name: bytes) -> bool:
    return name.lower().startswith(OWN_COOKIES)


def _confined(cookie: bytes, visit: Visit) -> bytes | None:
    """A cookie for this port and nothing else; None for one that takes a name of ours."""
    first, *attributes = (part.strip() for part in cookie.split(b";"))
    if _is_ours(first.partition(b"=")[0].strip()):
        return None
    refused = (b"domain", b"path") if visit.at_our_origin else (b"domain",)
    kept = [one for one in attributes if one.partition(b"=")[0].strip().lower() not in refused]
    if visit.at_our_origin:
        kept.append(b"Path=" + visit.prefix + b"/")
    return b"; ".join((first, *kept))


def _moved(location: bytes, visit: Visit) -> bytes:
    """Where a redirect leads, from outside: servers name paths of their own, and their own host."""
    for host in (b"localhost", b"127.0.0.1"):
        own = b"http://%b:%d" % (host, visit.port)
        if location.startswith(own) and location[len(own) :][:1] in (b"", b"/", b"?"):
            location = location[len(own) :]
            if not location.startswith(b"/"):
                location = b"/" + location
            break
    if location.startswith(b"/") and not location.startswith(b"//"):
        return visit.prefix + location
    return location
