"""Connecting to one of several addresses that have been judged: happy eyeballs (RFC 8305)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

import anyio
from anyio.abc import SocketStream

from vmpool.network.addresses import Address

HEAD_START: Final = 0.25
"""Seconds an address has before the next one is tried beside it."""


class Unreachable(Exception):
    """None of the addresses answered.  number: errno of the first that failed, ETIMEDOUT where none did."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode.get(number, "unreachable"))
        self.number = number


async def dial(addresses: Sequence[Address], port: int, timeout: float) -> tuple[SocketStream, Address]:
    """A connection to the first of these very addresses that answers within `timeout` seconds."""
    race = _Race(port)
    with anyio.move_on_after(timeout):
        await race.run(_alternating(addresses))
    if race.winner is None:
        raise Unreachable(race.failures[0] if race.failures else errno.ETIMEDOUT)
    return race.winner


class _Race:
    def __init__(self, port: int) -> None:
        self._port = port
        self._scope = anyio.CancelScope()
        self.winner: tuple[SocketStream, Address] | None = None
        self.failures: list[int] = []

    async def run(self, addresses: Sequence[Address]) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self._scope = tasks.cancel_scope
                for address in addresses:
                    failed = anyio.Event()
                    tasks.start_soon(self._attempt, address, failed)
                    with anyio.move_on_after(HEAD_START):
                        await failed.wait()
        except BaseException:  # cancelled from outside: nobody takes the winner
            if self.winner is not None:
                await anyio.aclose_forcefully(self.winner[0])
            raise

    async def _attempt(self, address: Address, failed: anyio.Event) -> None:
        try:
            stream = await anyio.connect_tcp(str(address), self._port)
        except OSError as failure:
            self.failures.append(_number(failure))
            failed.set()
            return
        if self.winner is None:
            self.winner = stream, address
            self._scope.cancel()
        else:
            await anyio.aclose_forcefully(stream)


def _number(failure: OSError) -> int:
    """The errno behind what anyio raises."""
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause.errno
        cause = cause.__cause__
    return errno.EHOSTUNREACH


def _alternating(addresses: Sequence[Address]) -> list[Address]:
    """The families in turn, each in its own order, beginning with that of the first."""
    first = [address for address in addresses if address.version == addresses[0].version]
    second = [address for address in addresses if address.version != addresses[0].version]
    pairs = zip_longest(first, second)
    return [address for pair in pairs for address in pair if address is not None]


def is_own(address: Address) -> bool:
    """Whether an address is one of this host's: the kernel would reach it from that very address.

    Asked anew each time, because addresses come and go.  Nothing is sent.  OSError where it cannot be asked.
    """
    if address.is_loopback or address.is_unspecified:
        return True  # the kernel answers from one address for all of these
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        probe = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as failure:
        if failure.errno != errno.EAFNOSUPPORT:
            raise  # out of descriptors: not known is not allowed
        return False  # a kernel without IPv6 has no such address
    with probe:
        probe.setblocking(False)
        try:
            probe.connect((str(address), 9))
            return str(probe.getsockname()[0]) == str(address)
        except OSError:
            return False  # no way there at all: the dialling will say so
