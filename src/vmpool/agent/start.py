"""The START message: an execution's specification as bytes."""

from __future__ import annotations

from collections.abc import Mapping

from vmpool.agent.base import ProcessSpec
from vmpool.agent.codec import RLIMIT, encode, pack
from vmpool.agent.messages import MAX_PAYLOAD_BYTES, Message
from vmpool.domain import TerminalSize
from vmpool.errors import InvalidRequest


def start_frame(execution_id: int, spec: ProcessSpec) -> tuple[bytes, bytes | None]:
    """The START frame, and standard input that does not fit in it and must be fed."""
    feed = None
    stdin = spec.stdin if isinstance(spec.stdin, bytes) and spec.stdin else None
    source_path, source_data = spec.source if spec.source is not None else (None, None)
    payload = pack(
        Message.START,
        argv=spec.argv,
        env=environment(spec.env),
        cwd=spec.cwd,
        source_path=source_path,
        source_data=source_data,
        timeout_ms=None if spec.timeout is None else max(1, int(spec.timeout * 1000)),
        background=1 if spec.background else None,
        rlimit=[RLIMIT.pack(number, soft, hard) for number, (soft, hard) in spec.rlimits.items()],
        warm=spec.warm,
        build_argv=spec.build,
        scratch_path=spec.scratch,
        umask=spec.umask,
        terminal=None if spec.terminal is None else terminal_number(spec.terminal),
    )
    if stdin is not None and len(payload) + len(stdin) + 8 > MAX_PAYLOAD_BYTES:
        stdin, feed = None, stdin
    payload += pack(
        Message.START,
        stdin_open=1 if spec.stdin == "open" or feed is not None else None,
        stdin_data=stdin,
    )
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidRequest(
            "code", f"code, arguments and environment together are {len(payload)} bytes; at most 1 MiB"
        )
    return encode(Message.START, execution_id, payload), feed


def terminal_number(size: TerminalSize) -> int:
    """A terminal's size as one number (`terminal` in `spec/agent-protocol.json`)."""
    return size.columns << 16 | size.rows


def environment(env: Mapping[str, str]) -> list[str]:
    """`NAME=value` of each variable, as `execve` takes them."""
    return [f"{name}={value}" for name, value in env.items()]
