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
    "typescript": Programs(
        hello="""let n: number = 0; for (let i = 0; i <= 100; i++) n += i;
interface Said { what: string } const said: Said = { what: 'typescript' }; console.log(said.what, n);""",
        echo="import { readFileSync } from 'node:fs';\nconsole.log(parseInt(readFileSync(0, 'utf8')) * 2);",
        fails="console.error('failing'); process.exit(3);",
        broken="const x: = 1;",
        grows="const x: Buffer[] = []; for (;;) x.push(Buffer.alloc(1 << 20, 7));",
    ),
    "c": Programs(
        hello="""#include <stdio.h>
int main(void) { int n = 0; for (int i = 0; i <= 100; i++) n += i; printf("c %d\\n", n); }""",
        echo="""#include <stdio.h>
int main(void) { int n; if (scanf("%d", &n) == 1) printf("%d\\n", n * 2); }""",
        fails="""#include <stdio.h>
int main(void) { fputs("failing\\n", stderr); return 3; }""",
        broken="int main(void) { return 0",
        grows="""#include <stdlib.h>
#include <string.h>
int main(void) { for (;;) { char *x = malloc(1 << 20); if (!x) return 1; memset(x, 7, 1 << 20);
    __asm__ volatile("" : : "r"(x) : "memory"); } }""",
    ),
    "cpp": Programs(
        hello="""#include <iostream>
#include <numeric>
#include <vector>
int main() { std::vector<int> v(101); std::iota(v.begin(), v.end(), 0);
    std::cout << "cpp " << std::accumulate(v.begin(), v.end(), 0) << std::endl; }""",
        echo="""#include <iostream>
int main() { int n; std::cin >> n; std::cout << n * 2 << std::endl; }""",
        fails="""#include <iostream>
int main() { std::cerr << "failing" << std::endl; return 3; }""",
        broken="int main() { auto x = ; }",
        grows="""#include <string>
#include <vector>
int main() { std::vector<std::string> x; for (;;) x.push_back(std::string(1 << 20, 'y')); }""",
    ),
    "ruby": Programs(
        hello='puts "ruby #{(0..100).sum}"',
        echo="puts gets.to_i * 2",
        fails="warn 'failing'; exit 3",
        broken="def f(",
        grows="x = []; loop { x << 'y' * (1 << 20) }",
    ),
    "php": Programs(
        hello="<?php echo 'php ', array_sum(range(0, 100)), PHP_EOL;",
        echo="<?php echo intval(fgets(STDIN)) * 2, PHP_EOL;",
        fails="<?php fwrite(STDERR, 'failing'); exit(3);",
        broken="<?php function (",
        grows="<?php ini_set('memory_limit', -1); $x = []; while (true) $x[] = str_repeat('y', 1 << 20);",
    ),
    "perl": Programs(
        hello='my $n = 0; $n += $_ for 0 .. 100; print "perl $n\\n";',
        echo='print <STDIN> * 2, "\\n";',
        fails="print STDERR 'failing'; exit 3;",
        broken="sub f {",
        grows="my @x; while (1) { push @x, 'y' x (1 << 20) }",
    ),
    "bash": Programs(
        hello="n=0; for i in {0..100}; do n=$((n + i)); done; echo bash $n",
        echo="read n; echo $((n * 2))",
        fails="echo failing >&2; exit 3",
        broken="if then",
        grows="x=y; while :; do x=$x$x; done",
    ),
}


def programs(language: str) -> Programs:
    """Those of the language, also for one version of it."""
    return PROGRAMS[LANGUAGES[language].version_of or language]


def test_there_are_programs_for_every_language() -> None:
    assert {name for name, one in LANGUAGES.items() if one.version_of is None} == PROGRAMS.keys()


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
            # Which versions of a language an own host has is its release's choice; images have all.
            needed = LANGUAGES[language].version_of is None or candidate.name == "docker"
            if needed and candidate.name in request.config.getoption("--require-backend"):
                pytest.fail(missing, pytrace=False)
            pytest.skip(missing)
        spec = limited(world.spec(template=language), memory=1024)
        async with open_box(world, MachineKey(1), spec) as box:
            yield box, language


async def test_runs(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    captured = await box.code(language, programs(language).hello)
    assert captured.stdout.decode().strip() == f"{LANGUAGES[language].version_of or language} 5050", captured
    assert captured.exit.exit_code == 0


async def test_a_version_is_that_version(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    if LANGUAGES[language].version_of is not None:
        captured = await box.code(language, "import sys\nprint('python%d.%d' % sys.version_info[:2])")
        assert captured.stdout.decode().strip() == language


async def test_reads_standard_input(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    captured = await box.code(language, programs(language).echo, stdin=b"21\n")
    assert captured.stdout.decode().strip() == "42", captured


async def test_fails(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    captured = await box.code(language, programs(language).fails)
    assert captured.exit.exit_code == 3, captured
    assert captured.stderr.strip() == b"failing"


async def test_does_not_compile(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    captured = await box.code(language, programs(language).broken)
    assert captured.exit.exit_code != 0
    assert captured.stderr
    assert captured.exit.build_failed == bool(LANGUAGES[language].build)


async def test_exceeds_the_memory_limit(spoken: tuple[Box, str]) -> None:
    box, language = spoken
    if box.info.enforcement["memory"] == "nothing":
        pytest.skip(f"{box.world.candidate.name}: nothing holds memory here")
    captured = await box.code(language, programs(language).grows, timeout=45)
    assert captured.exit.exit_code != 0
    assert not captured.exit.timed_out, captured
    assert await box.output("echo alive") == "alive"


async def test_exceeds_its_time(spoken: tuple[Box, str]) -> None:
    box, _ = spoken
    captured = await box.sh("while :; do :; done", timeout=0.5)
    assert captured.exit.timed_out
    assert await box.output("ls -A /home/user | grep -c vmpool- || true") == "0"
