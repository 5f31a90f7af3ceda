"""Ranges of ids on the host: every VM of the full root grade has its own."""

from __future__ import annotations

import threading
import zlib

from vmpool.backends.base import MachineKey

FIRST_ID = 0x10000000
RANGE_IDS = 0x10000
RANGES = 0xE000


class Ranges:
    """Which of some 57000 ranges is whose.  Threads may share one.

    pool_id: pools begin at different places, as they do not know of one another.
    """

    def __init__(self, pool_id: str) -> None:
        self._begin = zlib.crc32(pool_id.encode())
        self._changing = threading.Lock()
        self._owner: dict[int, MachineKey] = {}
        self._of: dict[MachineKey, int] = {}

    def take(self, key: MachineKey) -> int:
        """First id of the machine's range, which it has from now on."""
        with self._changing:
            if key not in self._of:
                slot = (self._begin + key.vm_id * 31 + key.generation) % RANGES
                while slot in self._owner:
                    slot = (slot + 1) % RANGES
                self._set(key, slot)
            return FIRST_ID + self._of[key] * RANGE_IDS

    def note(self, key: MachineKey, first_id: int) -> None:
        """The machine has had this range since before this server."""
        with self._changing:
            self._set(key, (first_id - FIRST_ID) // RANGE_IDS)

    def hand_on(self, spare: MachineKey, key: MachineKey) -> None:
        """What was one machine's is another's."""
        with self._changing:
            self._set(key, self._of.pop(spare))

    def free(self, key: MachineKey) -> None:
        """The machine is gone."""
        with self._changing:
            slot = self._of.pop(key, None)
            if slot is not None and self._owner.get(slot) == key:
                del self._owner[slot]

    def _set(self, key: MachineKey, slot: int) -> None:
        self._owner[slot] = key
        self._of[key] = slot
