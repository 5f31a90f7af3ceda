"""The same as a program, on a directory that it gets as an open descriptor.

::

    pack FD            writes the archive's length and a newline, then the archive
    unpack FD ROOM     reads an archive of at most ROOM bytes
    checksum FD        writes the checksum

It exits with 0, or with one of the numbers below and a line that says what was wrong.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Iterator
from typing import Final

from vmpool.backends.trees.packing import PIECE, archive_size, checksum, pack
from vmpool.backends.trees.unpacking import unpack
from vmpool.backends.trees.vetting import TooLarge, Vetting
from vmpool.backends.trees.walking import MOST_DEPTH
from vmpool.tar import BadArchive, Refused

REFUSED: Final = 3
TOO_LARGE: Final = 4


def _pieces() -> Iterator[bytes]:
    while piece := os.read(0, PIECE):
        yield piece


def main(words: list[str]) -> int:
    """Do it; the exit status."""
    verb, descriptor = words[0], int(words[1])
    os.umask(0)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sys.setrecursionlimit(20 * MOST_DEPTH)
    try:
        if verb == "pack":
            out = sys.stdout.buffer
            out.write(b"%d\n" % archive_size(descriptor))
            pack(descriptor, out.write)
            out.flush()
        elif verb == "checksum":
            print(checksum(descriptor))  # noqa: T201 - its answer
        else:
            unpack(descriptor, _pieces(), Vetting(int(words[2])))
    except (Refused, BadArchive) as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    except TooLarge:
        return TOO_LARGE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        return TOO_LARGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
