"""A state directory in one file, and back: `vm server backup` and `vm server restore`."""

from vmpool.backup.manifest import Manifest
from vmpool.backup.restore import restore
from vmpool.backup.save import save

__all__ = ["Manifest", "restore", "save"]
