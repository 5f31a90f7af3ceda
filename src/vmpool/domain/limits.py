"""Resource limits of one VM, and the specification's constants."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_CPU_LIMIT = 1.0
"""CPU cores of a VM."""
DEFAULT_MEMORY_LIMIT = 512
"""Memory of a VM, in MB (2**20 bytes)."""
DEFAULT_DISK_LIMIT = 1024
"""Disk of a VM, in MB (2**20 bytes)."""
DEFAULT_TIMEOUT = 300
"""Wall-clock seconds an execution may take when the request names none."""
MAX_VMS_PER_USER = 10
MAX_TOTAL_VMS = 100
MAX_EXECUTION_TIME = 600
"""The longest timeout an execution may ask for, in seconds."""
DEFAULT_PROCESS_LIMIT = 512
"""Processes and threads of a VM together."""
OPEN_FILES_SOFT, OPEN_FILES_HARD = 1024, 4096
SHARED_MEMORY_MB = 64
"""Size of the VM's /dev/shm, and of all its System V shared memory."""
TMPFS_INODES_PER_MB = 64
"""Files a tmpfs of a VM may hold for each MB of its size, as an ext4 file system of some size does."""
SMALLEST_DISK = 8
"""MB."""
TERMINALS = 256
"""Pseudo-terminals of a VM; without a limit of its own it could take all of the host's (4096)."""
CORE_BYTES = 1
"""RLIMIT_CORE: no core dump fits, and no program of the host's `core_pattern` is started (at 0 it is)."""
MAX_EXECUTIONS_IN_FLIGHT = 32
"""Executions that may run at once in one VM."""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits of each process of one execution, below those of its VM: setrlimit(2).  None: the VM's alone.

    cpu_seconds: of computing; SIGXCPU, and SIGKILL a second later.  memory: MB of data and heap; to ask for
    more fails.  file_size: MB of a file it writes; SIGXFSZ.  open_files: descriptors at once, at most
    OPEN_FILES_HARD.
    """

    cpu_seconds: int | None = None
    memory: int | None = None
    file_size: int | None = None
    open_files: int | None = None


NO_LIMITS = ProcessLimits()
"""Those of the VM alone."""


def tmpfs_options(megabytes: int, mode: str) -> str:
    """Options of a tmpfs that is bounded in bytes and in files."""
    return f"size={megabytes}m,nr_inodes={megabytes * TMPFS_INODES_PER_MB},mode={mode}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a VM may use at most.

    cpu: CPU cores.  memory: MB.  disk: MB.  processes: processes and threads together.
    """

    cpu: float = DEFAULT_CPU_LIMIT
    memory: int = DEFAULT_MEMORY_LIMIT
    disk: int = DEFAULT_DISK_LIMIT
    processes: int = DEFAULT_PROCESS_LIMIT

    @property
    def disk_in_memory(self) -> int:
        """MB of a disk that is kept in memory: programs need the other half of it."""
        return max(min(self.disk, self.memory // 2), SMALLEST_DISK)
