"""How many bytes the outputs on disk take: of one VM, of one user, and of all together.  Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable


class Room:
    """A count for each VM, bounded by what the VM may have, its user may have, and all may have together.

    total: bytes all VMs' outputs may take.  share: how much of that those of one user's VMs may, from 0 to 1.
    """

    def __init__(self, total: int, share: float) -> None:
        self._total = total
        self._of_one_user = int(total * share)
        self._used: dict[int, int] = {}
        self._owners: dict[int, int] = {}
        self._of_user: dict[int, int] = {}
        self._all = 0

    def begin(self, used: Iterable[tuple[int, int, int]]) -> None:
        """Count what an earlier server left: VM, its user, bytes."""
        for vm_id, user_id, count in used:
            self.add(vm_id, user_id, count)

    def add(self, vm_id: int, user_id: int, count: int) -> None:
        """Count bytes that are there already, bound or no bound."""
        self._owners[vm_id] = user_id
        _change(self._used, vm_id, count)
        _change(self._of_user, user_id, count)
        self._all += count

    def take(self, vm_id: int, user_id: int, limit: int, count: int) -> bool:
        """Count `count` bytes more if they fit.  limit: bytes of all outputs of this VM."""
        if not self.fits_vm(vm_id, limit, count) or not self.fits_all(user_id, count):
            return False
        self.add(vm_id, user_id, count)
        return True

    def fits_vm(self, vm_id: int, limit: int, count: int) -> bool:
        """Whether the VM may have so many bytes more."""
        return self._used.get(vm_id, 0) + count <= limit

    def fits_all(self, user_id: int, count: int) -> bool:
        """Whether its user may, and all VMs together."""
        theirs = self._of_user.get(user_id, 0) + count
        return theirs <= self._of_one_user and self._all + count <= self._total

    def give(self, vm_id: int, count: int) -> None:
        """Bytes that are gone from the disk."""
        self._all -= count
        _change(self._used, vm_id, -count)
        if vm_id in self._owners:
            _change(self._of_user, self._owners[vm_id], -count)
        if vm_id not in self._used:
            self._owners.pop(vm_id, None)

    @property
    def used(self) -> int:
        """Bytes of all outputs on disk."""
        return self._all


def _change(counts: dict[int, int], whose: int, by: int) -> None:
    """Zeros are not kept."""
    left = counts.get(whose, 0) + by
    if left > 0:
        counts[whose] = left
    else:
        counts.pop(whose, None)
