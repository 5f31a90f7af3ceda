"""Whom a client believes to be its server."""

from __future__ import annotations

import ssl

from vmpool.client.errors import ServerUnreachable
from vmpool.client.local import Address


def trust_of(address: Address) -> ssl.SSLContext | bool:
    """What `httpx` is to check the server's certificate with; it may read files.

    False without TLS, where there is nothing to check: making a context costs more than a whole call.  This
    machine's own server has said which certificate it shows: that one is believed, whatever name it bears.
    """
    if not address.url.startswith("https:"):
        return False
    try:
        if address.ca is not None:
            return ssl.create_default_context(cafile=address.ca)
        if address.certificate is not None:
            context = ssl.create_default_context(cafile=address.certificate)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.check_hostname = False
            return context
    except (OSError, ssl.SSLError) as error:
        named = address.ca or address.certificate
        problem = f"the certificates in {named} cannot be read: {error}"
        raise ServerUnreachable(address.url, problem, "never_dispatched") from error
    return True
