"""Package managers, as one table: how each is called in a VM, and what may be a package of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vmpool.errors import InvalidRequest

PACKAGES_HOST = "packages.pool.vm"
"""The name by which VMs reach the server's own registry.  No VM is called so: a VM's name has no dot."""
_BASE = f"http://{PACKAGES_HOST}"

MAX_PACKAGES = 100
MAX_PACKAGE = 200
"""Characters of one package with its version."""


@dataclass(frozen=True, slots=True)
class PackageManager:
    """How packages get into a VM.

    install: argument vector before the packages, with a `--` at its end where that ends options (`gem` has
    another meaning for it, and no package looks like an option); `{python}` stands for the VM's own
    interpreter.  env: what has it ask the server's registry and nobody else.  package: what may be asked for;
    anything else (a URL, a path, an option) is refused.  example: one, for the refusal.
    """

    name: str
    install: tuple[str, ...]
    package: re.Pattern[str]
    example: str
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


_PYTHON_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_PYTHON_VERSION = r"(?:==|>=|<=|~=|!=|<|>)[A-Za-z0-9][A-Za-z0-9.+!*_-]*"

_NPM_NAME = r"(?:@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"
_NPM_VERSION = r"(?:[\^~]|[<>]=?|=)?[a-z0-9][a-z0-9.+*-]*"

_FULL = r"[0-9]+\.[0-9]+\.[0-9]+(?:[+-][0-9A-Za-z.+-]+)?"
"""A version of a crate: cargo takes a shorter one for a requirement only."""

_TABLE = (
    PackageManager(
        "pip",
        ("{python}", "-m", "pip", "install", "--"),
        re.compile(
            rf"{_PYTHON_NAME}(?:\[{_PYTHON_NAME}(?:,{_PYTHON_NAME})*\])?(?:{_PYTHON_VERSION}(?:,{_PYTHON_VERSION})*)?"
        ),
        "requests or requests>=2.31,<3",
        env=MappingProxyType(
            {
                "PIP_INDEX_URL": f"{_BASE}/pypi/simple/",
                "PIP_EXTRA_INDEX_URL": "",
                "PIP_FIND_LINKS": "",
                "PIP_TRUSTED_HOST": PACKAGES_HOST,
                "PIP_CONFIG_FILE": "/dev/null",
                "PIP_NO_INPUT": "1",
                "PIP_NO_CACHE_DIR": "1",
                "PIP_DEFAULT_TIMEOUT": "300",
                "PIP_PROGRESS_BAR": "off",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_ROOT_USER_ACTION": "ignore",
                # A VM is its user's own; nobody's system is broken by what lies in their home.
                "PIP_BREAK_SYSTEM_PACKAGES": "1",
            }
        ),
    ),
    PackageManager(
        "npm",
        ("npm", "install", "--"),
        re.compile(rf"(?!.*\.(?:tgz|tar|tar\.gz)$){_NPM_NAME}(?:@{_NPM_VERSION})?", re.IGNORECASE),
        "lodash, @types/node or lodash@^4.17",
        env=MappingProxyType(
            {
                "npm_config_registry": f"{_BASE}/npm/",
                "npm_config_proxy": "http://127.0.0.1:3128",
                "npm_config_noproxy": "",
                "npm_config_userconfig": "/dev/null",
                "npm_config_audit": "false",
                "npm_config_fund": "false",
                "npm_config_update_notifier": "false",
                "npm_config_omit_lockfile_registry_resolved": "true",
                "npm_config_progress": "false",
            }
        ),
    ),
    PackageManager(
        "cargo",
        (
            "cargo",
            "install",
            "--root=/home/user/.local",  # its programs are found there
            "--config=source.crates-io.replace-with='pool'",
            f"--config=source.pool.registry='sparse+{_BASE}/cargo/'",
            "--",
        ),
        re.compile(
            rf"[A-Za-z][A-Za-z0-9_-]{{0,63}}(?:@(?:{_FULL}|[\^~=]{_FULL}|[\^~=][0-9]+(?:\.[0-9]+)?))?"
        ),
        "ripgrep, ripgrep@14.1.0 or ripgrep@^14",
        env=MappingProxyType({"CARGO_HTTP_MULTIPLEXING": "false", "CARGO_TERM_PROGRESS_WHEN": "never"}),
    ),
    PackageManager(
        "gem",
        (
            "gem",
            "install",
            "--norc",
            "--remote",
            "--user-install",
            "--no-document",
            "--bindir=/home/user/.local/bin",
            "--clear-sources",
            f"--source={_BASE}/gem/",
        ),
        re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?(?::[0-9][0-9A-Za-z.]*)?"),
        "rainbow or rainbow:3.1.1",
    ),
)

PACKAGE_MANAGERS: Mapping[str, PackageManager] = MappingProxyType({entry.name: entry for entry in _TABLE})
"""Every package manager by its name."""


def package_manager_named(name: str) -> PackageManager:
    """InvalidRequest names the choices."""
    found = PACKAGE_MANAGERS.get(name)
    if found is None:
        raise InvalidRequest("manager", f"'{name[:40]}' is not one of {', '.join(PACKAGE_MANAGERS)}")
    return found


def check_packages(manager: PackageManager, packages: tuple[str, ...]) -> None:
    """InvalidRequest unless each is a package of this manager's, by its name."""
    if not 1 <= len(packages) <= MAX_PACKAGES:
        raise InvalidRequest("packages", f"name 1 to {MAX_PACKAGES} packages, not {len(packages)}")
    for number, package in enumerate(packages):
        if len(package) > MAX_PACKAGE or not manager.package.fullmatch(package):
            raise InvalidRequest(
                f"packages.{number}",
                f"'{package[:80]}' is no package of {manager.name}'s; write one like {manager.example}",
            )
