"""Try one question on several toolchains in parallel, each in a VM of its own that goes away at the end.

Usage: python examples/versions.py [language ...]
"""

import asyncio
import sys

from vmpool import AsyncClient

PROGRAMS = {
    "python": "import platform; print(platform.python_version(), sum(range(101)))",
    "nodejs": "console.log(process.version, [...Array(101).keys()].reduce((a, b) => a + b))",
    "bash": "echo $BASH_VERSION $((100 * 101 / 2))",
    "go": 'package main\nimport ("fmt"; "runtime")\n'
    "func main() { fmt.Println(runtime.Version(), 100*101/2) }",
    "java": "class Main { public static void main(String[] a) {"
    ' System.out.println(System.getProperty("java.version") + " " + 100 * 101 / 2); } }',
    "rust": 'fn main() { println!("rust {}", (0..=100).sum::<i32>()); }',
}


async def ask(client: AsyncClient, language: str) -> str:
    async with await client.create_vm(f"version-{language}", language) as vm:
        result = await vm.execute(PROGRAMS[language], timeout=120)
        answer = result.output if result.ok else f"exit {result.exit_code}: {result.error}"
        return f"{language:8} {answer.strip()}  ({result.execution_time:.2f} s)"


async def main(languages: list[str]) -> None:
    async with AsyncClient(patience=60) as client:
        for line in await asyncio.gather(*(ask(client, language) for language in languages)):
            print(line)


asyncio.run(main(sys.argv[1:] or ["python", "nodejs", "bash"]))
