"""A Jupyter kernel on the host through jupyter_client: a line in runs the cell, a line out has the seconds.

Runs in the peers' environment.  A cell is over when its reply is there, its value has come and the kernel is
idle: a client that goes on before takes the rest for the next cell's.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from jupyter_client.manager import start_new_kernel


def run(client: Any, code: str) -> str:
    """The value of a cell as text."""
    asked = client.execute(code)
    value = ""
    while True:
        message = client.get_iopub_msg(timeout=30)
        if message["parent_header"].get("msg_id") != asked:
            continue
        if message["msg_type"] == "execute_result":
            value = message["content"]["data"]["text/plain"]
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    while client.get_shell_msg(timeout=30)["parent_header"].get("msg_id") != asked:
        pass
    return value


def main() -> None:
    """Until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    manager, client = start_new_kernel()
    try:
        run(client, "x = 41")
        answers.write("ready\n")
        for _ in sys.stdin:
            started = time.perf_counter()
            value = run(client, "x + 1")
            elapsed = time.perf_counter() - started
            answers.write(f"{elapsed!r} {value}\n")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    main()
