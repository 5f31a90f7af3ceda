"""One target under libFuzzer: `python -m fuzz.target NAME [libFuzzer's own options and directories]`."""

from __future__ import annotations

import sys

import atheris

PARSERS = ["vmpool.agent", "vmpool.network", "vmpool.snapshot_file", "vmpool.tar", "h11"]


def main(name: str, options: list[str]) -> None:
    """Run it until libFuzzer ends the process."""
    with atheris.instrument_imports(include=PARSERS):
        from fuzz.checks import CHECKS
    check = CHECKS[name]
    atheris.instrument_func(check)
    atheris.Setup([sys.argv[0], *options], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
