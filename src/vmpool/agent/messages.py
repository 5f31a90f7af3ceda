"""The agent protocol's vocabulary: message types, their fields, and since which generation each is known.

The same facts as `spec/agent-protocol.json`, which is the reference for both sides; a test compares every
constant here with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Literal

GENERATION = 5
"""The newest generation this host speaks; HELLO settles on the lower of both sides'."""
HEADER_BYTES = 24
MAX_PAYLOAD_BYTES = 1 << 20
WINDOW_BYTES = 256 << 10
"""Unacknowledged output the agent holds at most, per execution and stream."""
STDIN_WINDOW_BYTES = 64 << 10
"""Bytes of standard input the host sends at most past the last STDIN_ACK."""

CHANNEL_WINDOW_BYTES = 64 << 10
"""Bytes of a network channel each side may send before the first CHANNEL_CREDIT."""
AGENT_CHANNELS = 1 << 62
"""Numbers of network channels opened by the agent begin here."""
HOST_CHANNELS = 3 << 61
"""Numbers of network channels opened by the host begin here."""

NO_STREAM, STDOUT, STDERR = 0, 1, 2

Kind = Literal["u64", "bytes", "text", "path"]


class Message(IntEnum):
    """Every message type, host's and agent's."""

    HELLO = 1
    HELLO_OK = 2
    START = 3
    STARTED = 4
    FAILED = 5
    OUTPUT = 6
    ACK = 7
    STDIN = 8
    STDIN_ACK = 9
    STDIN_CLOSE = 10
    EXITED = 11
    ATTACH = 12
    RELEASE = 13
    SIGNAL = 14
    LIST = 15
    LISTED = 16
    FILE_READ = 17
    FILE_DATA = 18
    FILE_WRITE = 19
    DONE = 20
    WARM = 21
    STATS = 22
    STATS_OK = 23
    PING = 24
    PONG = 25
    SHUTDOWN = 26
    LISTEN = 27
    CHANNEL_ACCEPTED = 28
    CHANNEL_CONNECT = 29
    CHANNEL_CONNECTED = 30
    CHANNEL_DATA = 31
    CHANNEL_CREDIT = 32
    CHANNEL_EOF = 33
    CHANNEL_CLOSE = 34
    CHANNEL_RESET = 35
    FILE_STAT = 36
    FILE_STATUS = 37
    FILE_LIST = 38
    FILE_LISTED = 39
    FILE_MAKE = 40
    FILE_CHANGE = 41
    FILE_MOVE = 42
    FILE_REMOVE = 43
    FILE_REMOVED = 44
    FILE_GET = 45
    FILE_COMING = 46
    FILE_PUT = 47
    FILE_READY = 48
    FILE_PIECE = 49
    RESIZE = 50
    FILE_WATCH = 51
    FILE_WATCHING = 52
    FILE_CHANGED = 53


class Reason:
    """Codes a FAILED message carries."""

    UNKNOWN_EXECUTION = "unknown_execution"
    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    PERMISSION = "permission"
    NOT_A_FILE = "not_a_file"
    TOO_MANY_EXECUTIONS = "too_many_executions"
    NO_MEMORY = "no_memory"
    NO_SPACE = "no_space"
    SPAWN_FAILED = "spawn_failed"
    GONE = "gone"
    IO_ERROR = "io_error"
    UNKNOWN_MESSAGE = "unknown_message"
    NOT_SUPPORTED = "not_supported"
    REFUSED = "refused"
    TOO_MANY_CHANNELS = "too_many_channels"
    EXISTS = "exists"
    NOT_EMPTY = "not_empty"
    NOT_A_DIRECTORY = "not_a_directory"
    CROSS_DEVICE = "cross_device"
    TOO_MANY_WATCHES = "too_many_watches"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message's payload."""

    tag: int
    kind: Kind
    repeated: bool = False


def _field(tag: int, kind: Kind) -> Field:
    return Field(tag, kind)


def _many(tag: int) -> Field:
    return Field(tag, "bytes", repeated=True)


_NOTHING: dict[str, Field] = {}

FIELDS: Mapping[Message, Mapping[str, Field]] = MappingProxyType(
    {
        Message.HELLO: {"generation": _field(1, "u64")},
        Message.HELLO_OK: {
            "generation": _field(1, "u64"),
            "boot_id": _field(2, "u64"),
            "pid": _field(3, "u64"),
            "agent_version": _field(4, "text"),
        },
        Message.START: {
            "argv": _many(1),
            "env": _many(2),
            "cwd": _field(3, "path"),
            "source_path": _field(4, "path"),
            "source_data": _field(5, "bytes"),
            "stdin_open": _field(6, "u64"),
            "timeout_ms": _field(7, "u64"),
            "background": _field(8, "u64"),
            "rlimit": _many(9),
            "warm": _field(10, "text"),
            "build_argv": _many(11),
            "scratch_path": _field(12, "path"),
            "umask": _field(13, "u64"),
            "stdin_data": _field(14, "bytes"),
            "exit_grace_ms": _field(15, "u64"),
            "terminal": _field(16, "u64"),
        },
        Message.STARTED: {
            "pid": _field(1, "u64"),
            "already": _field(2, "u64"),
            "warm": _field(3, "u64"),
        },
        Message.FAILED: {
            "reason": _field(1, "text"),
            "message": _field(2, "text"),
            "errno": _field(3, "u64"),
        },
        Message.ACK: _NOTHING,
        Message.STDIN_ACK: _NOTHING,
        Message.STDIN_CLOSE: _NOTHING,
        Message.EXITED: {
            "status": _field(1, "u64"),
            "signal": _field(2, "u64"),
            "timed_out": _field(3, "u64"),
            "user_us": _field(4, "u64"),
            "system_us": _field(5, "u64"),
            "max_rss_bytes": _field(6, "u64"),
            "duration_us": _field(7, "u64"),
            "stdout_bytes": _field(8, "u64"),
            "stderr_bytes": _field(9, "u64"),
            "build_failed": _field(10, "u64"),
            "cancelled": _field(11, "u64"),
        },
        Message.ATTACH: {"stdout_offset": _field(1, "u64"), "stderr_offset": _field(2, "u64")},
        Message.RELEASE: _NOTHING,
        Message.SIGNAL: {"signal": _field(1, "u64"), "tree": _field(2, "u64")},
        Message.LIST: _NOTHING,
        Message.LISTED: {"execution": _many(1)},
        Message.FILE_READ: {
            "path": _field(1, "path"),
            "offset": _field(2, "u64"),
            "length": _field(3, "u64"),
        },
        Message.FILE_DATA: {
            "data": _field(1, "bytes"),
            "size": _field(2, "u64"),
            "mode": _field(3, "u64"),
            "mtime_ns": _field(4, "u64"),
        },
        Message.FILE_WRITE: {
            "path": _field(1, "path"),
            "offset": _field(2, "u64"),
            "truncate": _field(3, "u64"),
            "mode": _field(4, "u64"),
            "data": _field(5, "bytes"),
            "parents": _field(6, "u64"),
            "mtime_ns": _field(7, "u64"),
        },
        Message.DONE: _NOTHING,
        Message.WARM: {
            "name": _field(1, "text"),
            "argv": _many(2),
            "env": _many(3),
            "cwd": _field(4, "path"),
            "strategy": _field(5, "text"),
            "spares": _field(6, "u64"),
            "command": _many(7),
            "fixed": _many(8),
            "fixed_cwd": _field(9, "u64"),
        },
        Message.STATS: _NOTHING,
        Message.STATS_OK: {
            "processes": _field(1, "u64"),
            "executions": _field(2, "u64"),
            "connections": _field(3, "u64"),
            "uptime_us": _field(4, "u64"),
        },
        Message.PING: _NOTHING,
        Message.PONG: _NOTHING,
        Message.SHUTDOWN: {"grace_ms": _field(1, "u64")},
        Message.LISTEN: {
            "proxy": _field(1, "u64"),
            "direct": _many(2),
            "resolver": _field(3, "u64"),
            "channels": _field(4, "u64"),
        },
        Message.CHANNEL_ACCEPTED: {
            "direct": _field(1, "u64"),
            "host": _field(2, "text"),
            "port": _field(3, "u64"),
        },
        Message.CHANNEL_CONNECT: {"port": _field(1, "u64")},
        Message.CHANNEL_CONNECTED: _NOTHING,
        Message.CHANNEL_CREDIT: _NOTHING,
        Message.CHANNEL_EOF: _NOTHING,
        Message.CHANNEL_CLOSE: _NOTHING,
        Message.CHANNEL_RESET: _NOTHING,
        Message.FILE_STAT: {
            "path": _field(1, "path"),
            "follow": _field(2, "u64"),
        },
        Message.FILE_STATUS: {
            "mode": _field(1, "u64"),
            "size": _field(2, "u64"),
            "mtime_ns": _field(3, "u64"),
            "target": _field(4, "path"),
        },
        Message.FILE_LIST: {
            "path": _field(1, "path"),
            "cursor": _field(2, "u64"),
            "length": _field(3, "u64"),
        },
        Message.FILE_LISTED: {
            "entry": _many(1),
            "next": _field(2, "u64"),
        },
        Message.FILE_MAKE: {
            "path": _field(1, "path"),
            "mode": _field(2, "u64"),
            "parents": _field(3, "u64"),
            "existing": _field(4, "u64"),
            "target": _field(5, "path"),
            "source": _field(6, "path"),
        },
        Message.FILE_CHANGE: {
            "path": _field(1, "path"),
            "mode": _field(2, "u64"),
            "mtime_ns": _field(3, "u64"),
        },
        Message.FILE_MOVE: {
            "path": _field(1, "path"),
            "to": _field(2, "path"),
            "replace": _field(3, "u64"),
        },
        Message.FILE_REMOVE: {
            "path": _field(1, "path"),
            "tree": _field(2, "u64"),
        },
        Message.FILE_REMOVED: {
            "more": _field(1, "u64"),
        },
        Message.FILE_GET: {
            "path": _field(1, "path"),
            "offset": _field(2, "u64"),
            "length": _field(3, "u64"),
        },
        Message.FILE_COMING: {
            "size": _field(1, "u64"),
            "mode": _field(2, "u64"),
            "mtime_ns": _field(3, "u64"),
            "length": _field(4, "u64"),
        },
        Message.FILE_PUT: {
            "path": _field(1, "path"),
            "offset": _field(2, "u64"),
            "truncate": _field(3, "u64"),
            "mode": _field(4, "u64"),
            "parents": _field(5, "u64"),
            "mtime_ns": _field(6, "u64"),
        },
        Message.FILE_READY: {
            "size": _field(1, "u64"),
        },
        Message.RESIZE: {
            "execution": _field(1, "u64"),
            "terminal": _field(2, "u64"),
        },
        Message.FILE_WATCH: {
            "path": _field(1, "path"),
            "recursive": _field(2, "u64"),
        },
        Message.FILE_WATCHING: {
            "directories": _field(1, "u64"),
        },
        Message.FILE_CHANGED: {
            "change": _many(1),
            "lost": _field(2, "u64"),
            "unwatched": _field(3, "u64"),
        },
    }
)
"""Fields of every message but the raw ones (OUTPUT, STDIN, CHANNEL_DATA, FILE_PIECE): theirs is bytes."""

_FIRSTS = ((2, Message.LISTEN), (3, Message.FILE_STAT), (4, Message.RESIZE), (5, Message.FILE_WATCH))
SINCE: Mapping[Message, int] = MappingProxyType(
    {message: max((since for since, first in _FIRSTS if message >= first), default=1) for message in Message}
)
"""The generation that introduced each message; a message newer than the VM's agent is AgentTooOld."""
