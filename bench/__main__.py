"""`python -m bench`: measure, print the table and the bars, write results and plots."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import scenarios
from bench.contenders import (
    Contender,
    DockerAPI,
    DockerCLI,
    DockerRun,
    VMPool,
    VMPoolSDK,
    bare_interpreters,
)
from bench.report import Report
from bench.server import running_server


def main() -> int:
    """0 when every promised ratio that could be measured was met."""
    options = _parse()
    with _contenders(docker=not options.no_docker) as contenders:
        _say("preparing ten sandboxes for each contender")
        ready = [contender for contender in contenders if not isinstance(contender, DockerRun)]
        for contender in ready:
            contender.prepare(scenarios.SANDBOXES if not isinstance(contender, VMPoolSDK) else 1)
        executed = scenarios.execute(ready, options.rounds, _say)
        ten = [contender for contender in ready if not isinstance(contender, VMPoolSDK)]
        rates = scenarios.throughput(ten, options.throughput_rounds, options.seconds, _say)
        # A user may have ten VMs: those that stood ready make room for the ones that are created now.
        for contender in ready:
            contender.close()
        makers = [contender for contender in contenders if not isinstance(contender, VMPoolSDK | DockerAPI)]
        created = scenarios.create(makers, options.create_rounds, _say)
    report = Report(contenders, executed, created, rates)
    sys.stderr.write("\r\033[K")
    paths = report.write(options.output)
    print(report.table())
    print("\nPromised ratios of medians:")
    for bar in report.bars():
        print(bar.line())
    print("\nWritten: " + ", ".join(str(path) for path in paths))
    return int(any(bar.measured is not None and bar.measured > bar.limit for bar in report.bars()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="rounds of execute (default %(default)s)")
    parser.add_argument("--create-rounds", type=int, default=20, help="default %(default)s")
    parser.add_argument("--throughput-rounds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each throughput round")
    parser.add_argument("--no-docker", action="store_true", help="leave docker out")
    parser.add_argument("--output", type=Path, default=Path("bench/results"), help="default %(default)s")
    return parser.parse_args()


@contextmanager
def _contenders(*, docker: bool) -> Iterator[list[Contender]]:
    """Every contender this machine has.  The SDK's own VMs count against a user of their own server."""
    with ExitStack() as stack:
        found: list[Contender] = bare_interpreters()
        for backend in ("bubblewrap", "docker") if docker else ("bubblewrap",):
            server = stack.enter_context(running_server(backend, limits__max_vms_per_user="20"))
            found += [VMPool(backend, server), VMPoolSDK(backend, server)]
        if docker:
            found += [DockerCLI(), DockerAPI(), DockerRun()]
        for contender in found:
            stack.callback(contender.close)
        yield found


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (subprocess.CalledProcessError, RuntimeError) as error:
        sys.exit(f"bench: {error}")
