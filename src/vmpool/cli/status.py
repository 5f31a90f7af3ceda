"""Exit statuses of `vm`; `execute` and `run` end with the program's own where there is one.

After a signal it is 128 and the signal's number: 130 for Ctrl-C.  A wrong command line is 2, Typer's own.
"""

from __future__ import annotations

FAILED = 1
"""A batch in which a program failed, or a check that is not met."""
NOT_DONE = 125
"""vmpool could not do it: no server, no such VM, refused, or something of its own failed."""
