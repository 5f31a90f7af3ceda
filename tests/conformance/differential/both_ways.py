"""One program, run by a warm interpreter and by a fresh one in the same VM: what each shows of itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from tests.captured import Captured, run
from tests.conformance.backends import KEY, World
from tests.conformance.box import ENV, HOME, Box, next_id, open_box
from vmpool.agent import ProcessSpec
from vmpool.domain import LANGUAGES, Language
from vmpool.domain.language import Warm
from vmpool.pool.interpreters import interpreter
from vmpool.pool.runner import RLIMITS, filled

ATTEMPTS = 200


@dataclass(frozen=True)
class Program:
    """code: its source.  arguments: after the source's path.  stdin: None for none.  env: above the usual.
    files: what lies beside it.  varies: patterns of what differs from run to run anyway."""

    code: str
    arguments: tuple[str, ...] = ()
    stdin: bytes | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    varies: tuple[str, ...] = ()
    source: str | None = None


Outcome = tuple[int, int, str, str]


class BothWays:
    """A VM of one language with its interpreter warm."""

    def __init__(self, box: Box, language: Language) -> None:
        self._box = box
        self._language = language

    async def warm_up(self) -> None:
        warm = interpreter(self._language, self._box.memory)
        assert warm is not None
        await self._box.client.warm(
            self._language.name,
            warm.argv,
            {**ENV, **self._language.env},
            strategy=warm.strategy.value,
            spares=1,
            command=warm.command,
            fixed=warm.fixed,
            fixed_cwd=warm.fixed_cwd,
        )

    async def run(self, program: Program) -> tuple[Outcome, Outcome]:
        """How it went warm, and how cold."""
        for name, text in program.files.items():
            await self._box.client.write_file(f"{HOME}/{name}", text.encode(), parents=True)
        spec = self._spec(program)
        cold = await run(self._box.client, next_id(), spec)
        assert not cold.warm
        for _ in range(ATTEMPTS):
            warm = await run(self._box.client, next_id(), replace(spec, warm=self._language.name))
            if warm.warm:
                return _outcome(warm, program), _outcome(cold, program)
            await anyio.sleep(0.05)
        raise AssertionError("never warm")

    async def is_warm(self, program: Program) -> bool:
        """Whether a warm interpreter takes it; there is one by now."""
        return (
            await run(self._box.client, next_id(), replace(self._spec(program), warm=self._language.name))
        ).warm

    def _spec(self, program: Program) -> ProcessSpec:
        scratch = None if self._language.beside else "/tmp/.vmpool-program"
        source = f"{scratch or HOME}/{program.source or self._language.source}"
        meant = {"{source}": source, "{memory}": str(self._box.memory)}
        return ProcessSpec(
            argv=(*filled(self._language.run, meant), *program.arguments),
            env={**ENV, **self._language.env, **program.env},
            source=(source, program.code.encode()),
            scratch=scratch,
            stdin=program.stdin,
            timeout=50,
            rlimits=RLIMITS,
        )


def _outcome(captured: Captured, program: Program) -> Outcome:
    texts = []
    for data in (captured.stdout, captured.stderr):
        text = data.decode("utf-8", "backslashreplace")
        for pattern in program.varies:
            text = re.sub(pattern, "*", text)
        texts.append(text)
    return captured.exit.status, captured.exit.signal, texts[0], texts[1]


@asynccontextmanager
async def open_both_ways(world: World, language: str) -> AsyncIterator[BothWays]:
    """A VM of its own for this language; its interpreter is warmed."""
    entry = LANGUAGES[language]
    assert entry.warm is not Warm.NONE
    async with open_box(world, KEY, world.spec(template=language)) as box:
        both = BothWays(box, entry)
        await both.warm_up()
        yield both
