"""Paths in a VM: bytes, which calls may also give as text."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from urllib.parse import quote_from_bytes

from vmpool.client.wire import vm_path

RemotePath = str | bytes | PurePosixPath
"""Relative ones begin at the VM's home directory.  In text, what is no UTF-8 stands as Python's `os.fsdecode`
has it."""


def raw(path: RemotePath) -> bytes:
    """The path as the VM has it."""
    return os.fsencode(path)


def below(directory: bytes, name: bytes) -> bytes:
    """The path of something in a directory."""
    return directory.rstrip(b"/") + b"/" + name if directory else name


def files_path(vm: int | str, *rest: str, **parameters: RemotePath | int | bool | None) -> str:
    """A path of the API with its query; paths among the parameters may hold any bytes."""
    query = "&".join(f"{name}={_encoded(value)}" for name, value in parameters.items() if value is not None)
    return vm_path(vm, *rest) + (f"?{query}" if query else "")


def _encoded(value: RemotePath | int | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else quote_from_bytes(raw(value), safe="/")
