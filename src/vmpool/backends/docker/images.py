"""Making the templates' images: the base of each Debian release, and a Dockerfile per template on top.

Two functions do it, `build_bases` and `build_images`; both tell what happens through a callback, and ask
nothing of the host but an engine and, where no registry can be reached, `mmdebstrap`.  Settings of the host
that builds need (proxies) are handed to the builds and stay out of the images.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import anyio
import anyio.streams.text
from aiodocker import Docker
from aiodocker.exceptions import DockerError
from anyio import to_thread

import vmpool
from vmpool.backends.docker.engine import connected, find_image
from vmpool.backends.docker.errors import NO_CONNECTION, docker_errors
from vmpool.errors import BackendFailed, TemplateNotFound

Source = Literal["auto", "registry", "packages"]
"""Where a Debian release comes from: Docker's registry, Debian's packages, or whichever works."""

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_BASE = re.compile(r"^ARG BASE=\S+/base:(?P<release>[a-z]+)$", re.MULTILINE)
_LEAN = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
"""What dpkg leaves out, as Docker's own slim images do."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that happened to one image.

    kind: "started", "step" (a line of the Dockerfile), "output" (what it printed) or "done"; text: the
    step, the output, or the id of what was made.
    """

    image: str
    kind: Literal["started", "step", "output", "done"]
    text: str


Report = Callable[[Progress], None]


def dockerfiles() -> Path:
    """The directory with a Dockerfile per template: in the wheel beside the code, else the checkout's."""
    package = Path(vmpool.__file__).parent
    for candidate in (package / "images", package.parent.parent / "images"):
        if (candidate / "base" / "Dockerfile").is_file():
            return candidate
    raise BackendFailed(f"the Dockerfiles are missing from {package}; reinstall vmpool")


def templates() -> tuple[str, ...]:
    """Names of the templates that have a Dockerfile."""
    found = (path.parent.name for path in dockerfiles().glob("*/Dockerfile"))
    return tuple(sorted(name for name in found if name != "base"))


def release_of(template: str) -> str:
    """The Debian release a template stands on; TemplateNotFound."""
    try:
        match = _BASE.search((dockerfiles() / template / "Dockerfile").read_text())
    except OSError as error:
        raise TemplateNotFound(template) from error
    if match is None:
        raise BackendFailed(f"images/{template}/Dockerfile does not say `ARG BASE=vmpool/base:<release>`")
    return match["release"]


def _releases() -> tuple[str, ...]:
    return tuple(sorted({release_of(name) for name in templates()}))


async def build_bases(
    releases: Iterable[str] = (),
    *,
    host: str | None = None,
    image_prefix: str = "vmpool/",
    source: Source = "auto",
    report: Report = lambda _progress: None,
) -> tuple[str, ...]:
    """Make the base image of each release (default: all that the templates stand on); their names.

    From Debian's packages it takes mmdebstrap and half a minute; the result is kept under
    `$XDG_CACHE_HOME/vmpool` and used again.  BackendFailed, BackendUnreachable.
    """
    wanted = tuple(dict.fromkeys(releases)) or await to_thread.run_sync(_releases)
    with docker_errors("build the base images"):
        async with connected(host) as client:
            return tuple([await _build_base(client, name, image_prefix, source, report) for name in wanted])


async def build_images(
    names: Iterable[str] = (),
    *,
    host: str | None = None,
    image_prefix: str = "vmpool/",
    source: Source = "auto",
    report: Report = lambda _progress: None,
) -> tuple[str, ...]:
    """Build templates (default: all), with their bases where those are missing; the images' names.

    The engine's own build cache answers for what has not changed.  TemplateNotFound, BackendFailed,
    BackendUnreachable.
    """
    wanted = tuple(dict.fromkeys(names)) or await to_thread.run_sync(templates)
    releases = {name: await to_thread.run_sync(release_of, name) for name in wanted}
    directory = await to_thread.run_sync(dockerfiles)
    made = []
    with docker_errors("build the images"):
        async with connected(host) as client:
            for release in dict.fromkeys(releases.values()):
                if await find_image(client, f"{image_prefix}base:{release}") is None:
                    await _build_base(client, release, image_prefix, source, report)
            for name in wanted:
                tag = image_prefix + name
                arguments = {"BASE": f"{image_prefix}base:{releases[name]}"}
                await _build(client, tag, directory / name, arguments, report)
                made.append(tag)
    return tuple(made)


async def _build_base(client: Docker, release: str, prefix: str, source: Source, report: Report) -> str:
    tag, directory = f"{prefix}base:{release}", await to_thread.run_sync(dockerfiles) / "base"
    if source != "packages":
        try:
            return await _build(
                client, tag, directory, {"DEBIAN": f"debian:{release}-slim"}, report, pull=True
            )
        except DockerError as error:
            if error.status == NO_CONNECTION or source == "registry":
                raise
            report(Progress(tag, "output", f"no registry answers ({error.message.strip()}); using packages"))
    debian = f"{prefix}debian:{release}"
    report(Progress(debian, "started", "from Debian packages"))
    archive = await _root_file_system(release, debian, report)
    await _import(client, debian, archive, report)
    return await _build(client, tag, directory, {"DEBIAN": debian}, report)


async def _root_file_system(release: str, image: str, report: Report) -> Path:
    """A minimal Debian as a tar file, made once and kept under a name that says how."""
    command = ["mmdebstrap", "--variant=minbase", "--format=tar", *(f"--dpkgopt={line}" for line in _LEAN)]
    digest = hashlib.sha256("\0".join([*command, release]).encode()).hexdigest()[:12]
    kept = _cache() / f"debian-{release}-{digest}.tar"
    if await to_thread.run_sync(kept.is_file):
        report(Progress(image, "output", f"using {kept}"))
        return kept
    if await to_thread.run_sync(shutil.which, "mmdebstrap") is None:
        raise BackendFailed(
            "no registry can be reached and mmdebstrap is not there: `apt install mmdebstrap`"
        )
    await to_thread.run_sync(lambda: kept.parent.mkdir(parents=True, exist_ok=True))
    part = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        async with await anyio.open_process(
            [*command, release, str(part)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stderr is not None
            lines: list[str] = []
            async for text in anyio.streams.text.TextReceiveStream(process.stderr, errors="replace"):
                for line in text.splitlines():
                    lines.append(line)
                    report(Progress(image, "output", line))
            await process.wait()
        if process.returncode != 0:
            raise BackendFailed("mmdebstrap failed: " + "; ".join(lines[-3:]))
        await to_thread.run_sync(part.rename, kept)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(lambda: part.unlink(missing_ok=True))
    return kept


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmpool"


async def _import(client: Docker, tag: str, archive: Path, report: Report) -> None:
    """A root file system as an image, through the builder, which every engine has."""
    dockerfile = b'FROM scratch\nADD rootfs.tar /\nCMD ["bash"]\n'
    async with _context({"Dockerfile": dockerfile, "rootfs.tar": archive}) as context:
        await _run(client, tag, context, {}, report)


async def _build(
    client: Docker,
    tag: str,
    directory: Path,
    arguments: Mapping[str, str],
    report: Report,
    *,
    pull: bool = False,
) -> str:
    report(Progress(tag, "started", f"images/{directory.name}/Dockerfile"))
    files = await to_thread.run_sync(
        lambda: {
            str(path.relative_to(directory)): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
    )
    async with _context(files) as context:
        await _run(client, tag, context, {**arguments, **_proxies()}, report, pull=pull)
    return tag


def _proxies(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The engine knows these arguments by name and keeps them out of the image and its history."""
    names = [*_PROXIES, *(name.upper() for name in _PROXIES)]
    return {name: environment[name] for name in names if name in environment}


@asynccontextmanager
async def _context(files: Mapping[str, bytes | Path]) -> AsyncIterator[BinaryIO]:
    """A build context: a tar with the same bytes for the same files, so that the build cache can answer."""

    def pack() -> BinaryIO:
        packed = tempfile.TemporaryFile()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.mode = 0o644
                if isinstance(content, bytes):
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
                else:
                    entry.size = content.stat().st_size
                    with content.open("rb") as file:
                        archive.addfile(entry, file)
        packed.seek(0)
        return packed

    packed = await to_thread.run_sync(pack)
    try:
        yield packed
    finally:
        packed.close()


async def _run(
    client: Docker,
    tag: str,
    context: BinaryIO,
    arguments: Mapping[str, str],
    report: Report,
    *,
    pull: bool = False,
) -> None:
    made = ""
    async for event in client.images.build(
        fileobj=context,
        encoding="identity",
        tag=tag,
        buildargs=dict(arguments),
        pull=pull,
        forcerm=True,
        stream=True,
    ):
        made = _image_id(event) or made
        for line in str(event.get("stream") or event.get("status") or "").splitlines():
            if line.strip():
                report(Progress(tag, "step" if line.startswith("Step ") else "output", line.rstrip()))
    report(Progress(tag, "done", made))


def _image_id(event: Mapping[str, Any]) -> str | None:
    identifier = (event.get("aux") or {}).get("ID")
    return str(identifier) if identifier else None
