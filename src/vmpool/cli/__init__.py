"""The `vm` command: parsing and rendering only, over the SDK."""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process and exit."""
    from vmpool.cli.command import run

    raise SystemExit(run())
