"""The C library's allocator as a server wants it: what a large output took is given back when it is freed.

By default glibc keeps an arena for each of many threads and, once a large block was freed, takes blocks of
that size from the heap from then on: a server in whose worker threads megabytes of output come and go then
holds on to tens of megabytes of holes (mallopt(3)).
"""

from __future__ import annotations

import ctypes

# /usr/include/malloc.h
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8

ARENAS = 2
"""The event loop's, and one for all worker threads: they wait for disks more than for each other."""
LARGE = 1 << 20
"""Bytes from which a block is mapped by itself, and free ones at the heap's end are given back."""


def tune() -> bool:
    """Do so, before the first thread; False where the C library has no such settings (musl needs none)."""
    library = ctypes.CDLL(None)
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_ARENA_MAX, ARENAS), (_MMAP_THRESHOLD, LARGE), (_TRIM_THRESHOLD, LARGE))
    return all(mallopt(name, value) == 1 for name, value in settings)
