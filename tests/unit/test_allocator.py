"""What a large output took is given back: measured in own processes, with the settings and without."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from vmpool import allocator

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if sys.argv[1] == "tuned":
    assert allocator.tune()
bytearray(b"x") * (16 << 20)  # freed at once: glibc takes blocks up to this size from its heap from now on
before = resident()
kept = []
for _ in range(8):
    large = bytearray(b"x") * (4 << 20)
    kept.append(bytearray(b"x") * 20_000)  # lies behind the hole that `large` leaves
    del large
print(resident() - before)
"""


def grown(how: str) -> int:
    """Bytes that stay resident after everything large was freed."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_server_gives_back_what_large_blocks_took() -> None:
    assert grown("tuned") < 2 << 20


def test_the_c_library_by_itself_keeps_it() -> None:
    """Otherwise the settings are for nothing and should go."""
    assert grown("as it is") > 3 << 20
