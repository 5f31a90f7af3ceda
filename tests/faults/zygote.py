"""A process that has everything imported, with crash points, and forks a server for each order it is given.

`python -m tests.faults.zygote`: an order is a line of JSON on standard input, for each of which the lines
its server tells come out, and last `{"ended": status}`."""

from __future__ import annotations

import json
import os
import sys

from tests.faults.crash_points import instrument


def serve() -> None:
    """Fork until there are no more orders."""
    points = instrument()
    import uvloop  # noqa: F401 - so that no child need import it

    import vmpool.app
    import vmpool.backends.bubblewrap
    import vmpool.backends.docker  # noqa: F401
    from tests.faults import mortal, scenes, witness  # noqa: F401

    for line in sys.stdin:
        order = mortal.Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            os._exit(mortal.run(order, points))
        _, status = os.waitpid(child, 0)
        mortal.tell(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve()
