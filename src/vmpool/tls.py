"""The server's side of TLS."""

from __future__ import annotations

import ssl
from typing import Literal

from vmpool.errors import InvalidRequest
from vmpool.settings import Listen

MINIMUM: dict[Literal["1.2", "1.3"], ssl.TLSVersion] = {
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def server_context(listen: Listen) -> ssl.SSLContext | None:
    """What connections are accepted with; None for plain HTTP.  It reads the files.

    InvalidRequest, naming the setting, where they do not hold a certificate and its key.
    """
    if listen.tls_certificate is None or listen.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = MINIMUM[listen.tls_minimum]
    context.set_alpn_protocols(["http/1.1"])
    for setting, path in (
        ("listen.tls_certificate", listen.tls_certificate),
        ("listen.tls_key", listen.tls_key),
    ):
        try:
            path.read_bytes()
        except OSError as error:
            raise InvalidRequest(setting, f"{path} cannot be read: {error.strerror}") from error
    try:
        context.load_cert_chain(listen.tls_certificate, listen.tls_key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise InvalidRequest(
            "listen.tls_certificate",
            f"{listen.tls_certificate} and {listen.tls_key} are not a certificate (PEM) and its own key",
        ) from error
    return context


def _no_password() -> str:
    """A key under a password would make OpenSSL ask on the terminal, where nobody sits."""
    raise ValueError("the key is under a password")
