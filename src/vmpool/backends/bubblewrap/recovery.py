"""What a server does first with what an earlier one left.  Machines themselves are the reconciler's."""

from __future__ import annotations

from contextlib import suppress

from vmpool.backends.bubblewrap import skeleton, snapshots
from vmpool.backends.bubblewrap.layout import read_record
from vmpool.backends.bubblewrap.machines import Machines
from vmpool.backends.bubblewrap.stillness import let_go


def recover(machines: Machines) -> None:
    """Let go what is held, and remove what no machine, snapshot or base owns.  Blocks."""
    layout = machines.layout
    keys = machines.keys()
    for key in keys:
        let_go(layout, machines.cgroups, machines.boot, key)
        record = read_record(layout.vm(key).record)
        if record is not None and record.ids:
            machines.ranges.note(key, record.ids)
        else:
            machines.ranges.take(key)
    for directory in (layout.snapshots, layout.images):
        for leftover in directory.glob(".new-*"):
            machines.remove_tree(leftover)
    for entry in layout.snapshots.iterdir():
        if read_record(entry / snapshots.RECORD) is None:
            machines.remove_tree(entry)
    names = {machines.group(key) for key in keys}
    for orphan in machines.cgroups.names() - names:
        with suppress(OSError):  # a later start tries again
            machines.cgroups.remove(orphan)
    records = (read_record(layout.vm(key).record) for key in keys)
    used = {record.tree for record in records if record is not None}
    skeleton.remove_bases(layout.bases, frozenset({machines.bases.likely().name, *used}))
