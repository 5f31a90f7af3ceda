"""The file system of a fake machine: a dictionary, with just enough of uid 1000's rights to be believed."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vmpool.agent.watching import Mask

WRITABLE = ("/home/user", "/tmp")
_DIRECTORIES = frozenset({"/", "/home", "/home/user", "/tmp", "/etc"})


Told = tuple[Mask, str]
"""What happened, and to which path."""
Heard = Callable[[int, Sequence[Told]], None]
"""Hears what happened at once, with the cookie of a move."""


@dataclass(frozen=True, slots=True)
class File:
    """Content, permission bits, and when it was changed."""

    data: bytes
    mode: int = 0o644
    mtime_ns: int = field(default_factory=time.time_ns)


@dataclass(slots=True)
class Files:
    """Every path is absolute and normal; `resolve` makes it so.  Errors are the kernel's, as OSError."""

    files: dict[str, File] = field(default_factory=dict)
    directories: set[str] = field(default_factory=lambda: set(_DIRECTORIES))
    hearing: list[Heard] = field(default_factory=list)
    moves: int = 0

    def copy(self) -> Files:
        """An independent copy, as a snapshot keeps it; the files themselves never change."""
        return Files(dict(self.files), set(self.directories))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(file.data) for file in self.files.values())

    @staticmethod
    def resolve(path: str, cwd: str = "/home/user") -> str:
        return posixpath.normpath(posixpath.join(cwd, path))

    def read(self, path: str) -> File:
        if path in self.directories:
            raise IsADirectoryError(21, "Is a directory", path)
        found = self.files.get(path)
        if found is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        return found

    def write(self, path: str, data: bytes, *, mode: int = 0o644, parents: bool = False) -> None:
        self._writable(path)
        if path in self.directories:
            raise IsADirectoryError(21, "Is a directory", path)
        parent = posixpath.dirname(path)
        if parent not in self.directories:
            if not parents:
                raise FileNotFoundError(2, "No such file or directory", path)
            self.make_directory(parent, parents=True)
        self.store(path, File(data, mode))

    def store(self, path: str, file: File) -> None:
        """A file as it is now, wherever that is."""
        is_new = path not in self.files
        self.files[path] = file
        if is_new:
            self._tell((Mask.CREATE, path))
        self._tell((Mask.CLOSE_WRITE, path))

    def _tell(self, *changes: Told, cookie: int = 0) -> None:
        for heard in self.hearing:
            heard(cookie, changes)

    def make_directory(self, path: str, *, parents: bool = False) -> None:
        self._writable(path)
        if path in self.files or (path in self.directories and not parents):
            raise FileExistsError(17, "File exists", path)
        missing = [path]
        while (above := posixpath.dirname(missing[-1])) not in self.directories:
            if not parents:
                raise FileNotFoundError(2, "No such file or directory", path)
            if above in self.files:
                raise NotADirectoryError(20, "Not a directory", above)
            missing.append(above)
        for made in reversed(missing):
            if made not in self.directories:
                self.directories.add(made)
                self._tell((Mask.CREATE | Mask.ISDIR, made))

    def remove(self, path: str, *, tree: bool = False) -> None:
        self._writable(path)
        if path in self.directories:
            if not tree:
                raise IsADirectoryError(21, "Is a directory", path)
            prefix = path + "/"
            self.directories = {
                name for name in self.directories if name != path and not name.startswith(prefix)
            }
            self.files = {name: file for name, file in self.files.items() if not name.startswith(prefix)}
            self._tell((Mask.DELETE | Mask.ISDIR, path))
        elif path in self.files:
            del self.files[path]
            self._tell((Mask.DELETE, path))
        else:
            raise FileNotFoundError(2, "No such file or directory", path)

    def move(self, path: str, to: str, *, replace: bool) -> None:
        self._writable(path)
        self._writable(to)
        if path not in self.directories and path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        if posixpath.dirname(to) not in self.directories:
            raise FileNotFoundError(2, "No such file or directory", to)
        if to.startswith(path + "/"):
            raise OSError(22, "Invalid argument", to)
        if to in self.files or to in self.directories:
            if not replace:
                raise FileExistsError(17, "File exists", to)
            self.remove(to)
        self._rename(path, to)
        kind = Mask.ISDIR if to in self.directories else Mask(0)
        self.moves += 1
        self._tell((Mask.MOVED_FROM | kind, path), (Mask.MOVED_TO | kind, to), cookie=self.moves)

    def _rename(self, path: str, to: str) -> None:
        if path in self.files:
            self.files[to] = self.files.pop(path)
            return
        inside = path + "/"
        for name in [name for name in self.files if name.startswith(inside)]:
            self.files[to + name[len(path) :]] = self.files.pop(name)
        moved = {name for name in self.directories if name == path or name.startswith(inside)}
        self.directories = (self.directories - moved) | {to + name[len(path) :] for name in moved}

    def names(self, path: str) -> list[str]:
        """What lies directly in a directory."""
        if path not in self.directories:
            raise FileNotFoundError(2, "No such file or directory", path)
        prefix = path.rstrip("/") + "/"
        inside = [name[len(prefix) :] for name in (*self.files, *self.directories) if name.startswith(prefix)]
        return sorted(name for name in inside if name and "/" not in name)

    @staticmethod
    def _writable(path: str) -> None:
        if not any(path.startswith(root + "/") for root in WRITABLE):
            raise PermissionError(13, "Permission denied", path)
