"""Exit statuses of `vm`; `execute` and `run` end with the program's own where there is one."""

from __future__ import annotations

FAILED = 1
"""A batch in which a program failed, or a check that is not met."""
USAGE = 2
"""The command line is wrong."""
NOT_DONE = 125
"""vmpool could not do it: no server, no such VM, refused, or something of its own failed."""
INTERRUPTED = 130
"""Ended by Ctrl-C."""
