"""The read-only base every VM's root stands on: directories, links, generated files, an allow-list of /etc.

Two names: the digest says what a VM's writable layer stands on (system release, toolchains, kind of storage),
which a snapshot records; the base's own name adds the state of the files copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from vmpool.backends.bubblewrap.toolchains import MOUNT_NAMES, Toolchain

FORMAT = 1
SYSTEM_NAMES = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
ETC_ALLOWED = (
    "alternatives",
    "bash.bashrc",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java*",
    "ld-musl-*",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "magic",
    "maven/logging",
    "maven/m2.conf",
    "mime.types",
    "os-release",
    "perl",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "python3*",
    "rpc",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
)
GENERATED = {
    "etc/passwd": "root:x:0:0:root:/:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
    "etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n",
    "etc/timezone": "Etc/UTC\n",
    "etc/profile": "umask 022\n[ -n \"$BASH_VERSION\" ] && PS1='\\u@\\h:\\w\\$ '\n",
    # The VM is the environment: what protects a host's own packages from pip only stands in the way.
    "etc/pip.conf": "[global]\nbreak-system-packages = true\ndisable-pip-version-check = true\n",
}
DIRECTORIES = (".vmpool", "proc", "dev", "sys", "run", "home/user", "var/cache", "var/lib", "var/log", "etc")
SCRIPT_BYTES = 65536


def system_directories() -> tuple[str, ...]:
    """Those of the host's top directories with programs that are not links into /usr."""
    return tuple(n for n in SYSTEM_NAMES if Path("/", n).is_dir() and not Path("/", n).is_symlink())


def base_digest(toolchains: tuple[Toolchain, ...], storage: str) -> str:
    """Names what a VM's writable layer stands on.

    storage: how that layer is kept; one kind cannot be read as another.
    """
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    facts = {
        "format": FORMAT,
        "storage": storage,
        "machine": platform.machine(),
        "system": [release.get("ID"), release.get("VERSION_ID")],
        "toolchains": [(t.name, t.source) for t in toolchains],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def root_only_command(system: tuple[str, ...]) -> list[str]:
    """Prints, each with a NUL behind, the system's files and directories that not everybody may read.

    Where the server is root, a VM's user owns what the host's root owns; these must not be there at all.
    Looks at every file below the system's directories: up to a second for a large /usr.
    """
    closed = ("-type", "d", "!", "-perm", "-o=rx", "-print0", "-prune")
    unreadable = ("!", "-type", "d", "!", "-type", "l", "!", "-perm", "-o=r", "-print0")
    return ["find", *(f"/{top}" for top in system), "-xdev", *closed, "-o", *unreadable]


def base_name(digest: str, toolchains: tuple[Toolchain, ...], hidden: tuple[str, ...]) -> str:
    """The base's directory: `digest` and what its files are copied from, so that one never changes.

    The host's certificates and library cache move on between two servers, while a running VM still reads
    the files it was started with.
    """
    seen = hashlib.sha256(json.dumps([GENERATED, hidden], sort_keys=True).encode())
    sources = [path for entry in _allowed_etc() for path in (entry, *sorted(entry.rglob("*")))]
    sources += [Path(toolchain.source, "bin") for toolchain in toolchains]
    for path in sources:
        status = path.lstat()
        seen.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return f"{digest}-{seen.hexdigest()[:12]}"


def ensure_base(bases: Path, name: str, toolchains: tuple[Toolchain, ...], hidden: tuple[str, ...]) -> Path:
    """The base of this name below `bases`, made if it is not there.

    hidden: paths of the system no VM may see, relative to /.
    """
    target = bases / name
    if target.exists():
        return target
    building = Path(mkdtemp(prefix=".new-", dir=bases))
    try:
        building.chmod(0o755)
        _make_root(building / "root")
        for toolchain in toolchains:
            _relocate_scripts(toolchain, building / f"scripts-{toolchain.name}")
        for path in hidden:
            _hide(path, building / "hidden")
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def remove_bases(bases: Path, keep: frozenset[str]) -> None:
    """Remove the bases no VM stands on."""
    for entry in bases.iterdir():
        if entry.name not in keep and entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def _make_root(root: Path) -> None:
    root.mkdir()
    root.chmod(0o755)
    for name in (*DIRECTORIES, *(f"opt/{mount}" for mount in MOUNT_NAMES.values()), *system_directories()):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "var/tmp").symlink_to("/tmp")
    for name in SYSTEM_NAMES:
        host = Path("/", name)
        if host.is_symlink():
            (root / name).symlink_to(host.readlink())
    for source in _allowed_etc():
        _copy(source, root / source.relative_to("/"))
    for name, text in GENERATED.items():
        (root / name).unlink(missing_ok=True)
        (root / name).write_text(text, encoding="ascii")
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
    (root / "etc/mtab").symlink_to("../proc/self/mounts")


def _allowed_etc() -> Iterator[Path]:
    for pattern in ETC_ALLOWED:
        yield from sorted(Path("/etc").glob(pattern))


def _copy(source: Path, target: Path) -> None:
    """Copy what this user may read; the rest is not for a VM either."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir() and os.access(source, os.R_OK | os.X_OK):
        target.mkdir(exist_ok=True)
        for entry in source.iterdir():
            _copy(entry, target / entry.name)
    elif source.is_file() and os.access(source, os.R_OK):
        shutil.copyfile(source, target)


def _hide(path: str, layer: Path) -> None:
    """A whiteout in a layer over the system, in directories that are as the host's."""
    for parent in reversed(Path(path).parents):
        if not (layer / parent).exists():
            (layer / parent).mkdir(mode=0o755)
    os.mknod(layer / path, stat.S_IFCHR, os.makedev(0, 0))


def _relocate_scripts(toolchain: Toolchain, layer: Path) -> None:
    """A layer in which the toolchain's scripts name their interpreter where the VM has it."""
    (layer / "bin").mkdir(parents=True)
    old, new = f"#!{toolchain.source}/".encode(), f"#!/opt/{toolchain.name}/".encode()
    for entry in Path(toolchain.source, "bin").iterdir():
        if entry.is_symlink() or not entry.is_file() or entry.stat().st_size > SCRIPT_BYTES:
            continue
        content = entry.read_bytes()
        if content.startswith(old):
            script = layer / "bin" / entry.name
            script.write_bytes(new + content[len(old) :])
            script.chmod(0o755)
