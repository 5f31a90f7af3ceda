"""The languages a VM can be made for, as one table: adding a language is adding an entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from vmpool.errors import InvalidRequest


class Warm(StrEnum):
    """How an interpreter is kept ready before code comes."""

    FORK = "fork"  # one warm interpreter forks a clean child per execution
    PRESTARTED = "prestarted"  # each execution gets a process of its own that was started before
    NONE = "none"  # compile and run


class WarmStart(StrEnum):
    """When a VM's interpreter is started."""

    CREATE = "create"  # behind the VM's start: its first execution may find it
    FIRST_USE = "first_use"  # behind its first execution: a VM that is never used costs next to nothing


@dataclass(frozen=True, slots=True)
class Language:
    """How source text of one language becomes a process.

    source: file name of the source; `beside` says whether it is placed in the working directory (so that
    imports relative to it work) or in a private scratch directory, which one that is built always has.
    run: argument vector; `{source}` stands for the source's path, `{scratch}` for the scratch directory and
    `{memory}` for the VM's memory limit in MB.  build: argument vector run before `run`, under the same
    limits, with the same words.
    toolchain: the programs that must be found for the language to be offered.  reads_at_start: beginnings of
    the variables that the interpreter or its libraries look at once, when they start; a warm one has done so.
    takes_in: what in a source says that the build reads more than it, or that the program asks where it lies;
    the others' builds, whose result is `{scratch}/main`, are kept and used again.  None: none of them is.
    says_at_build: the last line on standard error of a program that `run` itself could not compile.
    version_of: the language this is one version of; a host need not have it.
    package_manager: what installs its packages (`vmpool.domain.packages`); None: nothing does.
    """

    name: str
    source: str
    run: tuple[str, ...]
    toolchain: tuple[str, ...]
    build: tuple[str, ...] = ()
    beside: bool = False
    warm: Warm = Warm.NONE
    reads_at_start: tuple[str, ...] = ()
    takes_in: str | None = None
    says_at_build: str | None = None
    version_of: str | None = None
    package_manager: str | None = None
    aliases: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


VM_PATH = ":".join(
    (
        "/home/user/.local/bin",
        "/opt/python/bin",
        "/opt/node/bin",
        "/opt/java/bin",
        "/opt/go/bin",
        "/opt/rust/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    )
)
"""The search path inside every VM, the same on every backend."""

_LIBRARIES = ("LD_", "LC_", "LANG", "GLIBC_", "MALLOC_", "HOME", "PATH", "TZ")

_REQUIRE = "import { createRequire } from 'module'; const require = createRequire(import.meta.url);"
"""What gives a module of JavaScript the function that older ones import by."""
_INCLUDES = r"#\s*(include|embed)\s*[^<\s]|__has_include|__FILE__|\basm\b|__asm"
"""Of C: a header of one's own, and what takes in files or asks where the source lies."""

_TABLE = (
    Language(
        "python",
        "main.py",
        ("python3", "{source}"),
        ("python3",),
        beside=True,
        warm=Warm.FORK,
        reads_at_start=("PYTHON", *_LIBRARIES),
        aliases=("py", "python3"),
        package_manager="pip",
    ),
    Language(
        "nodejs",
        "main.js",
        ("node", "{source}"),
        ("node",),
        beside=True,
        warm=Warm.PRESTARTED,
        reads_at_start=("NODE_", "UV_", "ICU_", "OPENSSL_", "SSL_", *_LIBRARIES),
        aliases=("js", "javascript", "node"),
        package_manager="npm",
    ),
    Language(
        "java",
        "Main.java",
        # A JVM takes its heap from the memory it sees, which is the host's where cgroups do not show.
        ("java", "-XX:MaxRAM={memory}m", "{source}"),
        ("java", "javac"),
        warm=Warm.PRESTARTED,
        reads_at_start=("",),  # a JVM cannot change what it was started with
        says_at_build="error: compilation failed",
    ),
    Language(
        "go",
        "main.go",
        ("{scratch}/main",),
        ("go",),
        build=("go", "build", "-o", "{scratch}/main", "{source}"),
        takes_in=r'"C"|`C`|//go:|runtime\.Caller',
        aliases=("golang",),
    ),
    Language(
        "rust",
        "main.rs",
        ("{scratch}/main",),
        ("rustc",),
        build=("rustc", "-o", "{scratch}/main", "{source}"),
        takes_in=r"include|path\s*=|\bmod\b[^{;]*;|extern\s+crate|link|\bfile!|\bLocation\b",
        aliases=("rs",),
        package_manager="cargo",
    ),
    Language(
        "typescript",
        "main.ts",
        ("node", "--enable-source-maps", "{scratch}/main.mjs"),
        ("esbuild", "node"),
        # Types are taken away, not checked, as by every runtime that takes TypeScript.  Packages and modules
        # beside the source are bundled; the banner is for those that still say `require`.
        build=(
            "esbuild",
            "{source}",
            "--bundle",
            "--platform=node",
            "--format=esm",
            "--sourcemap=inline",
            "--log-level=warning",
            f"--banner:js={_REQUIRE}",
            "--outfile={scratch}/main.mjs",
        ),
        beside=True,
        aliases=("ts",),
        package_manager="npm",
    ),
    Language(
        "c",
        "main.c",
        ("{scratch}/main",),
        ("gcc",),
        build=("gcc", "-O2", "-pthread", "-o", "{scratch}/main", "{source}", "-lm"),
        takes_in=_INCLUDES,
    ),
    Language(
        "cpp",
        "main.cpp",
        ("{scratch}/main",),
        ("g++",),
        build=("g++", "-O2", "-pthread", "-o", "{scratch}/main", "{source}"),
        takes_in=_INCLUDES,
        aliases=("c++", "cxx"),
    ),
    Language(
        "ruby",
        "main.rb",
        ("ruby", "{source}"),
        ("ruby",),
        beside=True,
        aliases=("rb",),
        package_manager="gem",
    ),
    Language("php", "main.php", ("php", "-d", "display_errors=stderr", "{source}"), ("php",), beside=True),
    Language("perl", "main.pl", ("perl", "{source}"), ("perl",), beside=True, aliases=("pl",)),
    Language("bash", "main.sh", ("bash", "{source}"), ("bash",), beside=True, aliases=("sh", "shell")),
    *(
        Language(
            f"python{version}",
            "main.py",
            (f"python{version}", "{source}"),
            (f"python{version}",),
            beside=True,
            version_of="python",
            package_manager="pip",
        )
        for version in ("3.11", "3.13")
    ),
)

LANGUAGES: Mapping[str, Language] = MappingProxyType({entry.name: entry for entry in _TABLE})
"""Every language by its canonical name."""

_BY_ANY_NAME = {alias: entry for entry in _TABLE for alias in (entry.name, *entry.aliases)}


def language_named(name: str) -> Language:
    """The language of this name or alias, whatever its case; InvalidRequest names the choices."""
    found = _BY_ANY_NAME.get(name.strip().lower())
    if found is None:
        raise InvalidRequest("language", f"'{name}' is not one of {', '.join(LANGUAGES)}")
    return found
