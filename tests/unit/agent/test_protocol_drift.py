"""The Python side of the protocol says what `spec/agent-protocol.json` says, constant by constant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vmpool.agent import codec, messages
from vmpool.agent.messages import FIELDS, SINCE, Message, Reason

SPEC: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "spec" / "agent-protocol.json").read_text(encoding="utf-8")
)
RAW = {name for name, entry in SPEC["messages"].items() if entry.get("raw")}


def test_sizes_and_generation() -> None:
    assert SPEC["generation"] == messages.GENERATION
    assert SPEC["frame"]["header_bytes"] == messages.HEADER_BYTES == len(codec.encode(1, 0))
    assert SPEC["frame"]["max_payload_bytes"] == messages.MAX_PAYLOAD_BYTES
    assert SPEC["flow"]["window_bytes"] == messages.WINDOW_BYTES
    assert SPEC["flow"]["stdin_window_bytes"] == messages.STDIN_WINDOW_BYTES
    assert SPEC["streams"] == {"stdout": messages.STDOUT, "stderr": messages.STDERR}


def test_the_header_is_laid_out_as_written() -> None:
    assert SPEC["frame"]["byte_order"] == "little"
    values = {"length": 3, "type": 0x11, "stream": 0x22, "reserved": 0, "channel": 1 << 60, "offset": 1 << 50}
    expected = b""
    for field in SPEC["frame"]["fields"]:
        expected += values[field["name"]].to_bytes(int(field["type"].removeprefix("u")) // 8, "little")
    assert codec.encode(0x11, 1 << 60, b"abc", stream=0x22, offset=1 << 50) == expected + b"abc"


def test_every_message_is_known_under_its_number_and_generation() -> None:
    assert {name: entry["type"] for name, entry in SPEC["messages"].items()} == {
        message.name: message.value for message in Message
    }
    assert {name: entry["since"] for name, entry in SPEC["messages"].items()} == {
        message.name: since for message, since in SINCE.items()
    }


@pytest.mark.parametrize("name", sorted(SPEC["messages"].keys() - RAW))
def test_fields_of(name: str) -> None:
    written = {
        field: (rest[0], rest[1], "repeated" in rest[2:])
        for field, rest in SPEC["messages"][name]["fields"].items()
    }
    known = {field: (entry.tag, entry.kind, entry.repeated) for field, entry in FIELDS[Message[name]].items()}
    assert known == written


def test_raw_messages_have_no_fields() -> None:
    assert {message.name for message in Message if message not in FIELDS} == RAW


def test_reasons() -> None:
    known = {value for name, value in vars(Reason).items() if not name.startswith("_")}
    assert known == set(SPEC["reasons"])


@pytest.mark.parametrize(("record", "struct"), [("rlimit", codec.RLIMIT), ("execution", codec.EXECUTION)])
def test_records(record: str, struct: Any) -> None:
    count = {"three": 3, "four": 4}[SPEC["records"][record].split()[0]]
    assert struct.format == "<" + "Q" * count
