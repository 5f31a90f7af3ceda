"""What a warm interpreter is started as, and which executions it stands for.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmpool.agent import warm_python
from vmpool.domain import Language
from vmpool.domain.language import Warm
from vmpool.pool.runner import filled

AGENT_DIRECTORY = "/.vmpool"
"""Where every VM has the agent, and beside it what its warm interpreters read."""
SOURCE = "{source}"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A program that waits for code.

    argv: what it is started as.  command: how the argument vectors it stands for begin, before the source.
    fixed: beginnings of the variables it has read when it waits.  fixed_cwd: it stays in the home directory.
    """

    argv: tuple[str, ...]
    command: tuple[str, ...]
    fixed: tuple[str, ...]
    strategy: Warm
    fixed_cwd: bool = False


_NODE = (
    "env",  # the option must not show among node's arguments
    f"NODE_OPTIONS=--require={AGENT_DIRECTORY}/warm_node.js",
    "node",
    f"{AGENT_DIRECTORY}/source.js",
)

# The modules and class path of `java FILE.java`, whose launcher it calls in the end.
_JAVA = (
    "java",
    "-XX:MaxRAM={memory}m",
    "--add-modules=ALL-DEFAULT",
    f"-Xbootclasspath/a:{AGENT_DIRECTORY}",
    "warm_java",
    "2",
    f"{AGENT_DIRECTORY}/warm_rehearsal.java",
)

_ARGV: Mapping[str, tuple[str, ...]] = {
    "python": ("python3", "-c", warm_python.TEXT),
    "nodejs": _NODE,
    "java": _JAVA,
}
_STAYS = frozenset({"java"})
"""Those that cannot change their directory."""


def interpreter(language: Language, memory: int) -> Interpreter | None:
    """The language's warm interpreter in a VM of so many MB; None where there is none."""
    if language.warm is Warm.NONE or language.name not in _ARGV:
        return None
    meant = {"{memory}": str(memory)}
    return Interpreter(
        argv=filled(_ARGV[language.name], meant),
        command=filled(language.run[: language.run.index(SOURCE)], meant),
        fixed=language.reads_at_start,
        strategy=language.warm,
        fixed_cwd=language.name in _STAYS,
    )
