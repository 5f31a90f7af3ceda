"""The machine the pool runs on: its figures, by psutil."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

MB = 1 << 20


@dataclass(frozen=True, slots=True)
class HostFigures:
    """A look at the host.  cpu_percent: of all cores since the last look.  The rest: bytes."""

    cpus: int
    cpu_percent: float
    load_average: tuple[float, float, float]
    memory_bytes: int
    memory_available_bytes: int
    disk_bytes: int
    disk_free_bytes: int


class Host:
    """Measures the host.  directory: whose file system counts as the host's disk.  memory, disk: MB."""

    def __init__(self, directory: Path = Path("/")) -> None:
        self._directory = str(directory)
        self.cpus = psutil.cpu_count() or 1
        self.memory = psutil.virtual_memory().total // MB
        self.disk = psutil.disk_usage(self._directory).total // MB
        psutil.cpu_percent(None)  # the first look has nothing to compare with

    def look(self) -> HostFigures:
        """The figures now; asks the file system, so call it from a worker thread."""
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(self._directory)
        return HostFigures(
            cpus=self.cpus,
            cpu_percent=psutil.cpu_percent(None),
            load_average=psutil.getloadavg(),
            memory_bytes=memory.total,
            memory_available_bytes=memory.available,
            disk_bytes=disk.total,
            disk_free_bytes=disk.free,
        )
