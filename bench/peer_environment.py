"""Where the peers live: a virtual environment outside the checkout, and images made here from vmpool's own.

Both are kept in the cache under a name made from what they are made of.  Nothing comes from an image
registry: the packages an image needs are installed on the host into a directory and copied in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.contenders.docker import IMAGE

CONSTRAINTS = Path(__file__).parent / "peers.txt"
HOST_PACKAGES = (
    "aiohttp",
    "autogen-ext[docker]",
    "ipykernel",
    "llm-sandbox[docker]",
    "smolagents[docker]",
    "swe-rex",
)
IMAGE_PACKAGES = ("ipykernel", "jupyter_kernel_gateway", "swe-rex")
"""SWE-ReX and smolagents talk to a server of theirs inside a container."""
REPOSITORY = "vmpool-bench/peers"
_DOCKERFILE = """\
FROM {image}
USER root
COPY packages {packages}
COPY swerex-remote /usr/local/bin/swerex-remote
RUN /usr/bin/python3 -m compileall -q {packages} \
 && /usr/bin/python3 -m venv --without-pip /sandbox/.sandbox-venv
CMD ["/usr/bin/python3", "-m", "kernel_gateway", "--KernelGatewayApp.ip=0.0.0.0", \
"--KernelGatewayApp.port=8888"]
"""
DOCKER_SECONDS = 600.0
"""The longest command: a build."""
DROP_SECONDS = 60.0
"""An engine waits with an image's removal for whatever holds one of its containers."""
_SWEREX_REMOTE = '#!/bin/sh\nexec /usr/bin/python3 -c "from swerex.server import main; main()" "$@"\n'


def cache() -> Path:
    """$XDG_CACHE_HOME/vmpool-bench."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmpool-bench"


def environment(say: Callable[[str], None]) -> Path:
    """The interpreter of the peers' virtual environment, which is made when it is not there."""
    made_of = f"{sys.version}{HOST_PACKAGES}".encode() + CONSTRAINTS.read_bytes()
    home = cache() / f"peers-{hashlib.sha256(made_of).hexdigest()[:12]}"
    interpreter = home / "bin" / "python"
    if not (home / "complete").exists():
        say("installing the peers")
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        base = Path(sys.base_prefix, "bin", f"python{sysconfig.get_python_version()}")
        _uv("venv", "--python", str(base), str(home))
        _uv(
            "pip",
            "install",
            "--compile-bytecode",
            "--python",
            str(interpreter),
            "--constraint",
            str(CONSTRAINTS),
            *HOST_PACKAGES,
        )
        (home / "complete").touch()
    return interpreter


def image(say: Callable[[str], None]) -> str:
    """The peers' image, which is made when it is not there."""
    base = _docker("image", "inspect", "--format", "{{.Id}}", IMAGE)
    made_of = f"{base}{IMAGE_PACKAGES}{_DOCKERFILE}{_SWEREX_REMOTE}".encode() + CONSTRAINTS.read_bytes()
    tag = f"{REPOSITORY}:{hashlib.sha256(made_of).hexdigest()[:12]}"
    if _docker("image", "ls", "-q", tag):
        return tag
    say("building the peers' image")
    inside = _docker(
        "run", "--rm", "--network", "none", "--entrypoint", "/usr/bin/python3", IMAGE, "-c",
        "import sys, sysconfig; print(sysconfig.get_path('purelib'), '%d.%d' % sys.version_info[:2])",
    ).split()  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="vmpool-bench-") as directory:
        context = Path(directory)
        _uv(
            "pip", "install", "--python-version", inside[1], "--target", str(context / "packages"),
            "--constraint", str(CONSTRAINTS), *IMAGE_PACKAGES,
        )  # fmt: skip
        (context / "swerex-remote").write_text(_SWEREX_REMOTE)
        (context / "swerex-remote").chmod(0o755)
        (context / "Dockerfile").write_text(_DOCKERFILE.format(image=IMAGE, packages=inside[0]))
        _docker("build", "--quiet", "--tag", tag, directory)
    return tag


def labelled(image: str, label: str) -> str:
    """The same image with a label of this run, which every container made from it bears."""
    tag = f"{REPOSITORY}-run:{hashlib.sha256(label.encode()).hexdigest()[:12]}"
    subprocess.run(
        [_program(), "build", "--quiet", "--label", label, "--tag", tag, "-"],
        input=f"FROM {image}\n".encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
        env=_environment(),
    )
    return tag


def sweep(label: str) -> int:
    """Remove every container with this label: how many there were."""
    found = _docker("ps", "-aq", "--filter", f"label={label}").split()
    if found:
        _docker("rm", "-f", "-v", *found)
    return len(found)


def drop_image(tag: str) -> None:
    """Remove a labelled image; an engine that does not get to it in time is told on standard error."""
    try:
        _docker("rmi", "--no-prune", tag, limit=DROP_SECONDS)
    except subprocess.SubprocessError as error:
        print(f"left behind: image {tag}: {error}", file=sys.stderr)


def _docker(*arguments: str, limit: float = DOCKER_SECONDS) -> str:
    return subprocess.run(
        [_program(), *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
        timeout=limit,
    ).stdout.strip()


def _program() -> str:
    return shutil.which("docker") or "docker"


def _environment() -> dict[str, str]:
    return {**os.environ, "DOCKER_BUILDKIT": "0"}  # the plain builder is always there


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True)
