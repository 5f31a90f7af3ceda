import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { isTestFile, testsOf, type Found } from "../src/testing/discover";
import { nodeOf, placeOf, resultsOf } from "../src/testing/junit";
import { projectArchive } from "../src/testing/project";
import { ordered } from "../src/testing/shards";
import { archive } from "../src/testing/tar";

const directories: string[] = [];
afterEach(() => {
  for (const one of directories.splice(0)) rmSync(one, { recursive: true, force: true });
});
function directory(): string {
  const made = mkdtempSync(join(tmpdir(), "vmpool-test-"));
  directories.push(made);
  return made;
}

const named = (found: readonly Found[]): unknown[] =>
  found.map((one) => (one.children.length > 0 ? [`${one.name}:${one.line}`, ...named(one.children)] : `${one.name}:${one.line}`));

test("tests are found as pytest would collect them", () => {
  const text = `import pytest

def helper():
    def test_inside(): pass

def test_one(): pass

async def test_two():
    text = """
def test_in_a_string(): pass
"""

class TestThings:
    @pytest.mark.parametrize("x", [1])
    def test_three(self, x): pass

    class TestInner:
        def test_four(self): pass

class Other:
    def test_no(self): pass

class Old(unittest.TestCase):
    def test_five(self): pass

class TestEmpty:
    pass
`;
  expect(named(testsOf(text))).toEqual([
    "test_one:5",
    "test_two:7",
    ["TestThings:12", "test_three:14", ["TestInner:16", "test_four:17"]],
    ["Old:22", "test_five:23"],
  ]);
  expect(testsOf("x = 1")).toEqual([]);
});

test("files of tests by their names", () => {
  expect(["a/test_x.py", "x_test.py", "test_.py"].every(isTestFile)).toBe(true);
  expect(["test.py", "tests/conftest.py", "xtest_a.py.txt", "test_x.txt"].some(isTestFile)).toBe(false);
});

const REPORT = `<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="1" failures="1">
<testcase classname="tests.test_a" name="test_one" time="0.5" />
<testcase classname="tests.test_a.TestX" name="test_two[a&lt;b]" time="0.1"><failure message="assert 1 == 2&#10;more">def test_two():
&gt;       assert 1 == 2
E       assert 1 == 2

tests/test_a.py:7: AssertionError</failure></testcase>
<testcase classname="tests.test_a" name="test_three" time="0"><skipped type="pytest.skip" message="why">x</skipped></testcase>
<testcase classname="" name="tests.test_b" time="0.0"><error message="collection failure"><![CDATA[E   File "tests/test_b.py", line 3
E   SyntaxError & so on]]></error></testcase>
<testcase classname="tests.test_a" name="test_cut" time="0"><failure mes`;

test("a report, also one that is cut", () => {
  const found = resultsOf(REPORT);
  expect(found.map((one) => [one.name, one.outcome, one.seconds])).toEqual([
    ["test_one", "passed", 0.5],
    ["test_two[a<b]", "failed", 0.1],
    ["test_three", "skipped", 0],
    ["tests.test_b", "errored", 0],
  ]);
  expect(found[1]?.message).toBe("assert 1 == 2\nmore");
  expect(found[1]?.text).toContain(">       assert 1 == 2");
  expect(found[3]?.text).toContain("SyntaxError & so on");
  expect(placeOf(found[1]?.text ?? "")).toEqual({ file: "tests/test_a.py", line: 7 });
  expect(placeOf(found[3]?.text ?? "")).toEqual({ file: "tests/test_b.py", line: 3 });
  expect(placeOf("/usr/lib/python3/x.py:7: Error")).toBeNull();
});

test("what a result is of", () => {
  const files = ["tests/test_a.py", "tests/test_a_more.py", "tests/test_b.py"];
  expect(resultsOf(REPORT).map((one) => nodeOf(one, files))).toEqual([
    "tests/test_a.py::test_one",
    "tests/test_a.py::TestX::test_two",
    "tests/test_a.py::test_three",
    "tests/test_b.py",
  ]);
});

test("an archive is what tar makes of it, long names too", () => {
  const long = `${"d".repeat(90)}/${"ä".repeat(60)}.txt`;
  const bytes = archive([
    { path: "a.txt", content: Buffer.from("hello"), executable: false, modified: 1_000 },
    { path: long, content: Buffer.alloc(1_500, "x"), executable: true, modified: 0 },
    { path: "empty", content: Buffer.alloc(0), executable: false, modified: 0 },
  ]);
  const where = directory();
  execFileSync("tar", ["-C", where, "-xf", "-"], { input: bytes });
  const listed = execFileSync("find", [".", "-type", "f", "-printf", "%P %s %m\n"], { cwd: where, encoding: "utf8" });
  expect(listed.trim().split("\n").sort()).toEqual(["a.txt 5 644", `${long} 1500 755`, "empty 0 644"].sort());
});

test("a project is sent without what git ignores, or without the usual leavings", async () => {
  const where = directory();
  mkdirSync(join(where, "node_modules"));
  mkdirSync(join(where, "pkg"));
  for (const file of ["node_modules/x.js", "pkg/a.py", "secret.env", ".gitignore"]) {
    writeFileSync(join(where, file), file === ".gitignore" ? "*.env\n/node_modules/\n" : file);
  }
  const listed = async (): Promise<string[]> => {
    const bytes = await projectArchive(where, new AbortController().signal);
    return execFileSync("tar", ["-tf", "-"], { input: bytes, encoding: "utf8" }).trim().split("\n").sort();
  };
  expect(await listed()).toEqual([".gitignore", "pkg/a.py", "secret.env"]);
  execFileSync("git", ["init", "-q"], { cwd: where });
  expect(await listed()).toEqual([".gitignore", "pkg/a.py"]);
});

test("what takes longest begins first, what nobody knows before it", () => {
  const jobs = ["a", "b", "c", "d"].map((file) => ({ file, nodes: [file] }));
  expect(ordered(jobs, { a: 1, b: 5, d: 2 }).map((job) => job.file)).toEqual(["c", "b", "d", "a"]);
});
