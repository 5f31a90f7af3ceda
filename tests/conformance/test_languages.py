"""Real programs in every language a backend offers: compile, run, fail, read, exceed a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.conformance.backends import Candidate, Power
from tests.conformance.box import Box, limited, open_box
from vmpool.backends.base import MachineKey
from vmpool.domain import LANGUAGES

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(240),
    pytest.mark.requires(Power.REAL_PROGRAMS, Power.ALL_LANGUAGES),
]


@dataclass(frozen=True)
class Programs:
    """hello: prints its language and sums 1 to 100.  echo: doubles a number from standard input.  fails: says
    so on standard error and exits 3.  broken: does not compile or parse.  grows: takes memory without end."""

    hello: str
    echo: str
    fails: str
    broken: str
    grows: str


PROGRAMS = {
    "python": Programs(
        hello="print('python', sum(range(101)))",
        echo="print(int(input()) * 2)",
        fails="import sys\nprint('failing', file=sys.stderr)\nsys.exit(3)",
        broken="def f(:\n",
        grows="x = []\nwhile True: x.append('y' * (1 << 20))",
    ),
    "nodejs": Programs(
        hello="let n = 0; for (let i = 0; i <= 100; i++) n += i; console.log('nodejs', n);",
        echo="console.log(parseInt(require('fs').readFileSync(0, 'utf8')) * 2);",
        fails="console.error('failing'); process.exit(3);",
        broken="function (",
        grows="const x = []; for (;;) x.push(Buffer.alloc(1 << 20, 7));",
    ),
    "java": Programs(
        hello="""public class Main { public static void main(String[] a) {
            int n = 0; for (int i = 0; i <= 100; i++) n += i; System.out.println("java " + n); } }""",
        echo="""import java.util.Scanner; public class Main { public static void main(String[] a) {
            System.out.println(new Scanner(System.in).nextInt() * 2); } }""",
        fails="""public class Main { public static void main(String[] a) {
            System.err.println("failing"); System.exit(3); } }""",
        broken="public class Main {",
        grows="""import java.util.*; public class Main { public static void main(String[] a) {
            List<byte[]> x = new ArrayList<>(); while (true) x.add(new byte[1 << 20]); } }""",
    ),
    "go": Programs(
        hello="""package main
import "fmt"
func main() { n := 0; for i := 0; i <= 100; i++ { n += i }; fmt.Println("go", n) }""",
        echo="""package main
import "fmt"
func main() { var n int; fmt.Scan(&n); fmt.Println(n * 2) }""",
        fails="""package main
import ("fmt"; "os")
func main() { fmt.Fprintln(os.Stderr, "failing"); os.Exit(3) }""",
        broken="package main\nfunc main() {",
        grows="""package main
func main() { x := [][]byte{}; for { b := make([]byte, 1 << 20)
    for i := range b { b[i] = 7 }; x = append(x, b) } }""",
    ),
    "rust": Programs(
        hello="""fn main() { let n: u32 = (0..=100).sum(); println!("rust {}", n); }""",
        echo="""use std::io;
fn main() { let mut s = String::new(); io::stdin().read_line(&mut s).unwrap();
    println!("{}", s.trim().parse::<i32>().unwrap() * 2); }""",
        fails="""fn main() { eprintln!("failing"); std::process::exit(3); }""",
        broken="fn main() {",
        grows="""fn main() { let mut x: Vec<Vec<u8>> = Vec::new(); loop { x.push(vec![7u8; 1 << 20]); } }""",
    ),
    "bash": Programs(
        hello="n=0; for i in {0..100}; do n=$((n + i)); done; echo bash $n",
        echo="read n; echo $((n * 2))",
        fails="echo failing >&2; exit 3",
        broken="if then",
        grows="x=y; while :; do x=$x$x; done",
    ),
}


def test_there_are_programs_for_every_language() -> None:
    assert PROGRAMS.keys() == LANGUAGES.keys()


@pytest.fixture(scope="module", params=list(LANGUAGES))
async def spoken(
    request: pytest.FixtureRequest, candidate: Candidate, anyio_backend: str
) -> AsyncIterator[tuple[Box, str]]:
    """A machine of the language's template; where it is not offered, a skip, or an error if required."""
    language: str = request.param
    async with candidate.open_world() as world:
        async with world.backend() as backend:
            offered = (await backend.describe()).templates
        if language not in offered:
            missing = f"{candidate.name} has no template '{language}' here; it has {', '.join(offered)}"
            if candidate.name in request.config.getoption("--require-backend"):
                pytest.fail(missing, pytrace=False)
            pytest.skip(missing)
        spec = limited(world.spec(template=language), memory=1024)
        async with open_box(world, MachineKey(1), spec) as box:
            yield box, language


async def test_runs(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    captured = await box.code(language, PROGRAMS[language].hello)
    assert captured.stdout.decode().strip() == f"{language} 5050", captured
    assert captured.exit.exit_code == 0


async def test_reads_standard_input(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    captured = await box.code(language, PROGRAMS[language].echo, stdin=b"21\n")
    assert captured.stdout.decode().strip() == "42", captured


async def test_fails(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    captured = await box.code(language, PROGRAMS[language].fails)
    assert captured.exit.exit_code == 3, captured
    assert captured.stderr.strip() == b"failing"


async def test_does_not_compile(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    captured = await box.code(language, PROGRAMS[language].broken)
    assert captured.exit.exit_code != 0
    assert captured.stderr
    assert captured.exit.build_failed == bool(LANGUAGES[language].build)


async def test_exceeds_the_memory_limit(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    if box.info.enforcement["memory"] == "nothing":
        pytest.skip(f"{box.world.candidate.name}: nothing holds memory here")
    captured = await box.code(language, PROGRAMS[language].grows, timeout=45)
    assert captured.exit.exit_code != 0
    assert not captured.exit.timed_out, captured
    assert await box.output("echo alive") == "alive"


async def test_exceeds_its_time(spoken: tuple[Box, str]) -> None:
    box, _ = spoken
    captured = await box.sh("while :; do :; done", timeout=0.5)
    assert captured.exit.timed_out
    assert await box.output("ls -A /home/user | grep -c vmpool- || true") == "0"
