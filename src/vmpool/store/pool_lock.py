"""The lock on a pool's id: one server of this host runs the pool, whichever directory it runs it from.

A restored backup has the id of the server it was saved from, and with it the names of that server's VMs:
containers, control groups, directories.  Two servers of one id would each remove what the other has made.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import NamedTuple

from vmpool.errors import Conflict, InvalidRequest

_CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: process, user, group."""
_BACKLOG = 128
"""Questions of servers that were refused; nobody takes them off, and past them the holder is not named."""


class Holder(NamedTuple):
    """Who has the lock; None for what cannot be seen from here (another PID namespace)."""

    pid: int | None
    uid: int


def lock_pool(pool_id: str) -> socket.socket:
    """Take the pool's lock; it is held until the socket is closed or the process ends, however that ends.

    A listening Unix socket in the abstract namespace: there is no file to be left behind, to be removed or to
    be without permission.  It covers what shares this network namespace, so neither another host nor a
    container with a network of its own.

    Raises Conflict, with the holder's process id where known, and InvalidRequest for what cannot be a name.
    """
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(_address(pool_id))
        lock.listen(_BACKLOG)
    except OSError as failure:
        lock.close()
        if failure.errno != errno.EADDRINUSE:
            raise InvalidRequest("pool_id", f"'{pool_id}' cannot be locked: {failure}") from failure
        raise _held(pool_id) from failure
    return lock


def _address(pool_id: str) -> bytes:
    return b"\0vmpool-pool/" + os.fsencode(pool_id)


def _held(pool_id: str) -> Conflict:
    holder = _holder(pool_id)
    who = ""
    if holder is not None:
        who = f" (process {holder.pid or 'of another PID namespace'}, user {holder.uid})"
    return Conflict(
        f"another vmpool server{who} runs the pool {pool_id} from another state directory: one of the two was"
        " restored from a backup of the other, or copied; they would remove each other's VMs, so stop that"
        " one first",
        pid=None if holder is None else holder.pid,
        pool_id=pool_id,
    )


def _holder(pool_id: str) -> Holder | None:
    """The process that listens; None where it has gone, or takes no more questions."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as question:
        question.setblocking(False)
        try:
            question.connect(_address(pool_id))
            found = question.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return None
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return Holder(pid or None, uid)
