from __future__ import annotations

import errno
import socket
from ipaddress import ip_address

import pytest

from vmpool.network.dialling import is_own


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.7.6", True),
        ("0.0.0.0", True),
        ("::1", True),
        ("::", True),
        ("192.0.2.1", False),
        ("240.0.0.1", False),
    ],
)
def test_the_kernel_knows_its_own_addresses(address: str, own: bool) -> None:
    assert is_own(ip_address(address)) is own


def refusing(number: int) -> type[socket.socket]:
    """Sockets of a kernel that makes none."""

    class Refused(socket.socket):
        def __init__(self, *_: object) -> None:
            raise OSError(number, "refused")

    return Refused


def test_a_kernel_without_ipv6_has_no_ipv6_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", refusing(errno.EAFNOSUPPORT))
    assert not is_own(ip_address("2606:4700::1111"))


def test_what_cannot_be_asked_is_not_taken_for_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", refusing(errno.EMFILE))
    with pytest.raises(OSError, match="refused"):
        is_own(ip_address("1.1.1.1"))
