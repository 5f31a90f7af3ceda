"""The C side's own unit tests and its fuzzer; and that it has the specification's numbers."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.agent.conftest import SOURCES
from tests.agent.wire import Wire

SPEC = json.loads((SOURCES.parent / "spec" / "agent-protocol.json").read_text())


def test_unit_tests() -> None:
    done = subprocess.run(["make", "-C", str(SOURCES), "check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_little_fuzzing() -> None:
    done = subprocess.run(
        ["make", "-C", str(SOURCES), "fuzz", "FUZZ_SECONDS=5"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def constants() -> dict[str, int]:
    header = (SOURCES / "protocol.h").read_text()
    return {name: int(value) for name, value in re.findall(r"\b([A-Z][A-Z_]*[A-Z]) = (\d+)", header)}


def test_the_numbers_are_the_specifications() -> None:
    known = constants()
    assert known["GENERATION"] == SPEC["generation"]
    assert known["FRAME_HEADER_BYTES"] == SPEC["frame"]["header_bytes"]
    assert known["FRAME_MAX_PAYLOAD_BYTES"] == SPEC["frame"]["max_payload_bytes"]
    assert known["WINDOW_BYTES"] == SPEC["flow"]["window_bytes"]
    assert known["STDIN_WINDOW_BYTES"] == SPEC["flow"]["stdin_window_bytes"]
    for name, message in SPEC["messages"].items():
        assert known[f"MESSAGE_{name}"] == message["type"]
        for field, (tag, *_) in message.get("fields", {}).items():
            assert known[f"{name}_{field.upper()}"] == tag, f"{name}.{field}"


def test_reasons_are_the_specifications() -> None:
    words = set()
    for source in Path(SOURCES).glob("*.c"):
        text = source.read_text()
        words |= set(re.findall(r'(?:reply_failed|execution_fail)\([^;]*?"([a-z_]+)"', text))
        words |= set(re.findall(r'return "([a-z_]+)";', text))
    assert words <= set(SPEC["reasons"])


def test_hello_names_the_generation(wire: Wire) -> None:
    assert wire.hello.u64("generation") == SPEC["generation"]
    assert wire.hello.text("agent_version")
