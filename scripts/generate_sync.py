"""Generate the synchronous client from the asynchronous one.

Usage: python scripts/generate_sync.py [--check]

Every file of `client/_async` but those written by hand is copied to `client/_sync` with its words replaced,
in code, comments and docstrings alike, and formatted by ruff.  With --check nothing is written, and files
that differ are named with exit status 1.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "src" / "vmpool" / "client"
BY_HAND = {"__init__.py", "forwarding.py", "jobs.py", "waiting.py"}
WORDS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\basync (def|with|for)\b", r"\1"),
        (r"\bawait ", ""),
        (r"_async\b", "_sync"),
        (r"\b(an?|An?) asynchronous\b", r"\1 synchronous"),
        (
            (
                r"\bAsync(Administration|Client|Connection|ContextHandle|Contexts|Events|ExecutionHandle"
                r"|Executions|Files|Jobs|Secrets|Snapshots|Templates|VMHandle|Webhooks|BaseTransport|Iterator)\b"
            ),
            r"\1",
        ),
        (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
        (r"\bAsyncGenerator\b", "Generator"),
        (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
        (r"\ba(close|read|iter_bytes)\b", r"\1"),
        (r"\basynccontextmanager\b", "contextmanager"),
        (r"\baclosing\b", "closing"),
        (r"\bAbstractAsyncContextManager\b", "AbstractContextManager"),
        (r"`contextlib\.aclosing`", "`contextlib.closing`"),
    )
)


def translated(source: str) -> str:
    """The synchronous form of one asynchronous module, formatted."""
    for pattern, replacement in WORDS:
        source = pattern.sub(replacement, source)
    for arguments in (("check", "--select=I", "--fix-only", "--quiet"), ("format", "--quiet")):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename=client/_sync/it.py", "-"]
        done = subprocess.run(
            command, input=source, capture_output=True, text=True, check=True, cwd=CLIENT.parents[2]
        )
        source = done.stdout
    return source


def generated() -> dict[Path, str]:
    """Every generated file with its text."""
    return {
        CLIENT / "_sync" / path.name: translated(path.read_text())
        for path in sorted((CLIENT / "_async").glob("*.py"))
        if path.name not in BY_HAND
    }


def main() -> int:
    """Write the files, or with --check say which differ."""
    parser = argparse.ArgumentParser(description="Generate the synchronous client.")
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = 0
    for path, text in generated().items():
        if path.exists() and path.read_text() == text:
            continue
        if check:
            sys.stderr.write(f"{path} is not what scripts/generate_sync.py makes\n")
            stale = 1
        else:
            path.write_text(text)
    return stale


if __name__ == "__main__":
    raise SystemExit(main())
