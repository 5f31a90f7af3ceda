"""Making a state directory from a backup: whole, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from vmpool.backends.bubblewrap import copies
from vmpool.backup import archive, database
from vmpool.backup.manifest import NAME, Manifest
from vmpool.errors import InvalidRequest


def restore(source: Path, state_dir: Path) -> Manifest:
    """Make `state_dir`, which must not be there or be empty, from a backup.

    A server that is started on it finds every VM stopped with its files.  Raises InvalidRequest for a file
    that is damaged, cut, or none of ours, before anything is written to `state_dir`.
    """
    if not source.is_file():
        raise InvalidRequest("FILE", f"{source} is not there")
    if state_dir.exists() and any(state_dir.iterdir()):
        raise InvalidRequest("state_dir", f"{state_dir} is not empty; move it away first")
    archive.verify(source)
    state_dir.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{state_dir.name}-", dir=state_dir.parent))
    try:
        archive.unpack(source, made)
        manifest = Manifest.read(made)
        (made / NAME).unlink()
        if (made / database.NAME).exists():
            database.check(made / database.NAME)
        copies.put_back(made / "bubblewrap")
        if state_dir.exists():
            state_dir.rmdir()
        made.rename(state_dir)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return manifest
