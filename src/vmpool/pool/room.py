"""How many bytes the outputs on disk take: of one VM, and of all together.  Pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping


class Room:
    """A count for each VM, bounded by what the VM may have and by what all may have together.

    total: bytes all VMs' outputs may take.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._used: dict[int, int] = {}
        self._all = 0

    def begin(self, used: Mapping[int, int]) -> None:
        """Count what an earlier server left, by VM."""
        for vm_id, count in used.items():
            self.add(vm_id, count)

    def add(self, vm_id: int, count: int) -> None:
        """Count bytes that are there already, bound or no bound."""
        self._used[vm_id] = self._used.get(vm_id, 0) + count
        self._all += count

    def take(self, vm_id: int, limit: int, count: int) -> bool:
        """Count `count` bytes more if they fit.  limit: bytes of all outputs of this VM."""
        if not self.fits_vm(vm_id, limit, count) or not self.fits_all(count):
            return False
        self.add(vm_id, count)
        return True

    def fits_vm(self, vm_id: int, limit: int, count: int) -> bool:
        """Whether the VM may have so many bytes more."""
        return self._used.get(vm_id, 0) + count <= limit

    def fits_all(self, count: int) -> bool:
        """Whether all VMs together may."""
        return self._all + count <= self._total

    def give(self, vm_id: int, count: int) -> None:
        """Bytes that are gone from the disk."""
        left = self._used.get(vm_id, 0) - count
        self._all -= count
        if left > 0:
            self._used[vm_id] = left
        else:
            self._used.pop(vm_id, None)

    @property
    def used(self) -> int:
        """Bytes of all outputs on disk."""
        return self._all
