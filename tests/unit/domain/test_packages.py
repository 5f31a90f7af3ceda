"""What may be a package: a name, and nothing a package manager would read otherwise."""

from __future__ import annotations

import pytest

from vmpool.domain import LANGUAGES
from vmpool.domain.packages import MAX_PACKAGES, PACKAGE_MANAGERS, check_packages, package_manager_named
from vmpool.errors import InvalidRequest

PIP = PACKAGE_MANAGERS["pip"]
NPM = PACKAGE_MANAGERS["npm"]


@pytest.mark.parametrize(
    "package",
    ["requests", "a", "zope.interface", "requests==2.31.0", "requests>=2.31,<3", "x[a,b-c]~=1.0", "x==1.*"],
)
def test_names_with_versions_are_packages_of_pip(package: str) -> None:
    check_packages(PIP, (package,))


@pytest.mark.parametrize(
    "package",
    [
        "",
        "-r",
        "--index-url=http://x",
        ".",
        "./here",
        "../up",
        "/etc",
        "a/b",
        "git+https://x/y",
        "x @ https://x/y",
        "x;os_name",
        "x y",
        "x\n",
        "x==",
        "x==-1",
        "x[",
        "$(id)",
        "a" * 201,
    ],
)
def test_anything_else_is_refused_by_its_place(package: str) -> None:
    with pytest.raises(InvalidRequest, match=r"packages\.1"):
        check_packages(PIP, ("fine", package))


@pytest.mark.parametrize("package", ["lodash", "@types/node", "lodash@^4.17.1", "x@latest", "x@>=1.0"])
def test_names_with_versions_are_packages_of_npm(package: str) -> None:
    check_packages(NPM, (package,))


@pytest.mark.parametrize(
    "package",
    [
        "--registry=http://x",
        "a/b",
        "github:a/b",
        "x@npm:y",
        "x@file:.",
        "x@http://y",
        "here.tgz",
        "../x",
        "@a",
        "x@",
    ],
)
def test_what_npm_would_take_from_elsewhere_is_refused(package: str) -> None:
    with pytest.raises(InvalidRequest, match=r"packages\.0"):
        check_packages(NPM, (package,))


@pytest.mark.parametrize(
    ("package", "good"),
    [
        ("ripgrep", True),
        ("ripgrep@14.1.0", True),
        ("x@^1", True),
        ("x@1", False),
        ("x@=1.2.3-rc.1", True),
        ("--git=x", False),
        ("x@*", False),
        ("a/b", False),
    ],
)
def test_names_with_versions_are_packages_of_cargo(package: str, good: bool) -> None:
    if good:
        check_packages(PACKAGE_MANAGERS["cargo"], (package,))
    else:
        with pytest.raises(InvalidRequest):
            check_packages(PACKAGE_MANAGERS["cargo"], (package,))


@pytest.mark.parametrize(
    ("package", "good"),
    [("rainbow", True), ("net-ssh:7.2.0", True), ("a", True), ("--", False), ("-s", False), ("x:-1", False)],
)
def test_names_with_versions_are_packages_of_gem(package: str, good: bool) -> None:
    if good:
        check_packages(PACKAGE_MANAGERS["gem"], (package,))
    else:
        with pytest.raises(InvalidRequest):
            check_packages(PACKAGE_MANAGERS["gem"], (package,))


@pytest.mark.parametrize("packages", [(), ("x",) * (MAX_PACKAGES + 1)])
def test_their_number_is_bounded(packages: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match="packages"):
        check_packages(PIP, packages)


def test_every_language_names_a_package_manager_that_there_is() -> None:
    for language in LANGUAGES.values():
        if language.package_manager is not None:
            package_manager_named(language.package_manager)
    with pytest.raises(InvalidRequest, match="manager"):
        package_manager_named("brew")
