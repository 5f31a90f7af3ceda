"""The second run of a program that was built is the first one's result, and never another's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.captured import Captured, run
from tests.conformance.backends import KEY, Candidate, Power
from tests.conformance.box import ENV, HOME, Box, limited, next_id, open_box
from vmpool.agent import ProcessSpec
from vmpool.domain import LANGUAGES
from vmpool.pool.build_cache import DIRECTORY, KEPT, cached_build
from vmpool.pool.runner import filled

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(240),
    pytest.mark.requires(Power.REAL_PROGRAMS, Power.ALL_LANGUAGES),
]

SAYS = {
    "go": 'package main\nimport "fmt"\nfunc main() {{ fmt.Println("{}") }}\n',
    "rust": 'fn main() {{ println!("{}"); }}\n',
}


class Builder:
    """A VM of one compiled language."""

    def __init__(self, box: Box, language: str) -> None:
        self.box = box
        self.language = language

    async def run(self, code: str) -> Captured:
        """As the pool does it."""
        language, number = LANGUAGES[self.language], next_id()
        scratch = f"/tmp/.vmpool-{number}"
        source = f"{scratch}/{language.source}"
        meant = {"{source}": source, "{scratch}": scratch}
        build = cached_build(language, code, filled(language.build, meant), scratch, ENV)
        spec = ProcessSpec(
            argv=filled(language.run, meant),
            build=build,
            env=ENV,
            source=(source, code.encode()),
            scratch=scratch,
            timeout=100,
        )
        return await run(self.box.client, number, spec)

    async def kept(self) -> int:
        return int(await self.box.output(f"ls {DIRECTORY} 2>/dev/null | wc -l"))


@pytest.fixture(scope="module", params=["go", "rust"])
async def builder(
    request: pytest.FixtureRequest, candidate: Candidate, anyio_backend: str
) -> AsyncIterator[Builder]:
    async with candidate.open_world() as world:
        spec = limited(world.spec(template=request.param), memory=1024)
        async with open_box(world, KEY, spec) as box:
            yield Builder(box, request.param)


async def test_the_second_run_needs_no_compiler(builder: Builder) -> None:
    code = SAYS[builder.language].format("once")
    before = await builder.kept()
    first, second = await builder.run(code), await builder.run(code)
    assert (first.stdout, first.stderr) == (second.stdout, second.stderr) == (b"once\n", b"")
    assert await builder.kept() == before + 1
    assert second.exit.user_seconds + second.exit.system_seconds < 0.05
    assert second.exit.duration < first.exit.duration


async def test_another_program_is_another(builder: Builder) -> None:
    for word in ("a", "b", "a", "b"):
        assert (await builder.run(SAYS[builder.language].format(word))).stdout == f"{word}\n".encode()


async def test_what_does_not_build_says_so_each_time(builder: Builder) -> None:
    code = SAYS[builder.language].format("x") + "}"
    before = await builder.kept()
    first, second = await builder.run(code), await builder.run(code)
    for captured in (first, second):
        assert captured.exit.build_failed
        assert captured.exit.exit_code in (1, 2)
        assert captured.stderr
    assert await builder.kept() == before


async def test_what_is_kept_and_spoiled_is_built_again(builder: Builder) -> None:
    code = SAYS[builder.language].format("spoiled")
    await builder.run(code)
    await builder.box.output(f"chmod 0 {DIRECTORY}/*")
    assert (await builder.run(code)).stdout == b"spoiled\n"
    assert (await builder.run(code)).stdout == b"spoiled\n"


async def test_only_so_many_are_kept(builder: Builder) -> None:
    await builder.box.output(
        f"mkdir -p {DIRECTORY}; for i in $(seq {2 * KEPT}); do touch -d 2001-01-01 {DIRECTORY}/$i; done"
    )
    built = await builder.run(SAYS[builder.language].format("one more"))
    assert await builder.kept() == KEPT
    kept = await builder.run(SAYS[builder.language].format("one more"))
    assert kept.exit.duration < built.exit.duration


@pytest.mark.parametrize("builder", ["rust"], indirect=True)  # Go's compiler has no warnings
async def test_warnings_are_repeated(builder: Builder) -> None:
    for _ in range(2):
        assert b"unused variable" in (await builder.run("fn main() { let x = 1; }")).stderr


@pytest.mark.parametrize("builder", ["go"], indirect=True)
async def test_a_module_of_the_users_is_looked_at_each_time(builder: Builder) -> None:
    box = builder.box
    code = 'package main\nimport "mine/words"\nfunc main() { println(words.Word) }\n'
    await box.client.write_file(f"{HOME}/go.mod", b"module mine\n")
    try:
        for word in ("first", "second"):
            text = f'package words\nconst Word = "{word}"\n'
            await box.client.write_file(f"{HOME}/words/words.go", text.encode(), parents=True)
            assert (await builder.run(code)).stderr == f"{word}\n".encode()
    finally:
        await box.output(f"rm -r {HOME}/go.mod {HOME}/words")
