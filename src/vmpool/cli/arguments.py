"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vmpool.client.options import PolicyOptions


def vm_names(incomplete: str) -> list[str]:
    """For the shell's completion: names of VMs that begin so.  Never starts a server, never fails."""
    from vmpool.client import Client, ClientError
    from vmpool.client.local import AUTOSTART_VARIABLE

    os.environ[AUTOSTART_VARIABLE] = "0"
    try:
        with Client() as client:
            return [vm.name for vm in client.list_vms() if vm.name.startswith(incomplete)]
    except ClientError:
        return []


def languages(incomplete: str) -> list[str]:
    """For the shell's completion: languages that begin so."""
    return [name for name in LANGUAGES if name.startswith(incomplete)]


LANGUAGES = (
    *("python", "nodejs", "typescript", "java", "go", "rust", "c", "cpp", "ruby", "php", "perl", "bash"),
    *("python3.11", "python3.13"),
)

VMArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="The VM's id or name.", autocompletion=vm_names, show_default=False),
]
VMArguments = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Ids or names.", autocompletion=vm_names, show_default=False),
]
LanguageArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="LANGUAGE",
        help="python, nodejs, typescript, java, go, rust, c, cpp, ruby, php, perl or bash; python3.13 and the"
        " like where the server has that version. Default: the template's.",
        autocompletion=languages,
        show_default=False,
    ),
]
LanguageOption = Annotated[
    str | None,
    typer.Option("--language", "-l", help="Default: the VM's own.", autocompletion=languages),
]
JSONOption = Annotated[bool, typer.Option("--json", help="Print JSON, as the API answers it.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")]
EnvOption = Annotated[
    list[str] | None, typer.Option("--env", "-e", metavar="K=V", help="A variable; may be repeated.")
]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", metavar="K=V", help="Your own note; may be repeated.")
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="RULE",
        help="What it may reach: a name, *.name, an address or a CIDR, each with :port; may be repeated.",
    ),
]
DenyOption = Annotated[
    list[str] | None, typer.Option("--deny", metavar="RULE", help="What it may not reach; wins over --allow.")
]
GroupOption = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="VMs of one group reach one another.")
]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", "-t", metavar="SECONDS", help="End it after so long.")
]


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str] | None:
    """`K=V` strings as a mapping; None where there are none, so that the server's default holds."""
    if not given:
        return None
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"'{text}' is not NAME=VALUE", param_hint=f"'{option}'")
        found[name] = value
    return found


def policy(
    allow: Sequence[str] | None, deny: Sequence[str] | None, group: str | None
) -> PolicyOptions | None:
    """The policy that the options name; None where they name nothing."""
    named: PolicyOptions = {}
    if allow:
        named["allow"] = list(allow)
    if deny:
        named["deny"] = list(deny)
    if group is not None:
        named["group"] = group
    return named or None


def reference(text: str) -> int | str:
    """An id where it is a number, else a name."""
    return int(text) if text.isdecimal() else text
