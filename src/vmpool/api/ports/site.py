"""The names of the hosts that links lead to: `https://*.vms.example.org`, the star a port's label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from vmpool.errors import InvalidRequest

TOKEN: Final = "vmpool_share"
"""The parameter of a link that holds its token, and the cookie that does afterwards."""


@dataclass(frozen=True, slots=True)
class ShareSite:
    """scheme: http or https.  domain: below which the hosts are, in small letters.  port: empty for the
    scheme's own, else with its colon."""

    scheme: str
    domain: str
    port: str = ""

    @classmethod
    def of(cls, url: str, setting: str = "ports.share_url") -> Self:
        """Of `scheme://*.domain[:port]`; InvalidRequest for anything else."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidRequest(setting, str(error)) from error
        domain = (parts.hostname or "").removeprefix("*.")
        port_text = "" if port is None else f":{port}"
        named = bool(domain) and "*" not in domain
        if (
            not named
            or parts.scheme not in ("http", "https")
            or url.rstrip("/") != f"{parts.scheme}://*.{domain}{port_text}"
        ):
            raise InvalidRequest(setting, f"'{url}' is not like https://*.vms.example.org")
        return cls(parts.scheme, domain, port_text)

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by TLS."""
        return self.scheme == "https"

    @property
    def cookie(self) -> str:
        """Its name: over TLS one that no other host can set for this one."""
        return f"__Host-{TOKEN}" if self.secure else TOKEN

    def origin(self, label: str) -> str:
        """Of a port's host."""
        return f"{self.scheme}://{label}.{self.domain}{self.port}"

    def link(self, label: str, token: str) -> str:
        """The link itself."""
        return f"{self.origin(label)}/?{TOKEN}={token}"

    def label(self, host: bytes) -> str | None:
        """Of a Host header; None for a host that is not below the domain."""
        name = host.rpartition(b":")[0] if host.rpartition(b":")[2].isdigit() else host
        label, _, domain = name.decode("latin-1").lower().partition(".")
        return label if domain == self.domain and label else None
