"""Share links, as arithmetic: what a link says, how it is signed, and the name of the host it leads to."""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta

_FORM = struct.Struct(">BQQHIQ")
_VERSION = 1
_MAC_BYTES = hashlib.sha256().digest_size
_TOKEN = re.compile(r"[A-Za-z0-9_-]{84}")
_LABEL = re.compile(r"p([1-9]\d{0,4})-([1-9]\d{0,18})-([0-9a-f]{10})")
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class SharedPort:
    """One port of one VM.  made: when the VM was, in microseconds: ids begin anew in another database."""

    vm_id: int
    made: int
    port: int

    @classmethod
    def of(cls, vm_id: int, created_at: datetime, port: int) -> SharedPort:
        """created_at: the VM's, naive UTC."""
        return cls(vm_id, (created_at - _EPOCH) // timedelta(microseconds=1), port)


@dataclass(frozen=True, slots=True)
class Share:
    """What a link says.  epoch: how often links to the port had been revoked when it was made.

    expires: seconds since 1970.
    """

    of: SharedPort
    epoch: int
    expires: int


def signed(key: bytes, share: Share) -> str:
    """The link's token: 84 characters that need no escape in a URL."""
    content = _FORM.pack(_VERSION, share.of.vm_id, share.of.made, share.of.port, share.epoch, share.expires)
    return urlsafe_b64encode(content + _mac(key, b"share", content)).decode("ascii")


def read(key: bytes, token: str) -> Share | None:
    """What a token says; None where it was not signed with this key.  Takes as long for every other one."""
    if not _TOKEN.fullmatch(token):
        return None
    content = urlsafe_b64decode(token)
    said, mac = content[:-_MAC_BYTES], content[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, b"share", said)):
        return None
    version, vm_id, made, port, epoch, expires = _FORM.unpack(said)
    return Share(SharedPort(vm_id, made, port), epoch, expires) if version == _VERSION else None


def label(key: bytes, of: SharedPort) -> str:
    """The first part of the name of a port's host: the same for all its links, and never another VM's.

    Nobody without the key can tell which labels there are.
    """
    tag = _mac(key, b"host", _FORM.pack(_VERSION, of.vm_id, of.made, of.port, 0, 0)).hex()[:10]
    return f"p{of.port}-{of.vm_id}-{tag}"


def named(text: str) -> tuple[int, int] | None:
    """The VM's id and the port that a label names, whether or not it is right; None for what is none."""
    found = _LABEL.fullmatch(text)
    return None if found is None else (int(found[2]), int(found[1]))


def _mac(key: bytes, purpose: bytes, content: bytes) -> bytes:
    return hmac.digest(key, purpose + b"\0" + content, "sha256")
