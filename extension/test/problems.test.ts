import { describe, expect, test } from "vitest";
import type { Finding } from "../src/problems/finding";
import { findingsOf } from "../src/problems/parsers";
import { inDocument, meaningOf } from "../src/problems/places";

/** A finding on one line, to be read beside what it was made of. */
function brief(one: Finding): string {
  const column = one.column === undefined ? "" : `:${one.fromIndent ? "+" : ""}${one.column}`;
  const related = one.related.map((place) => ` <- ${place.line} ${place.message}`).join("");
  return `${one.severity} ${one.line}${column} ${one.message}${related}`;
}

const CASES: readonly [what: string, language: string, text: string, findings: string[]][] = [
  [
    "a traceback",
    "python",
    `Traceback (most recent call last):
  File "/home/user/.vmpool-15.py", line 4, in <module>
    f(0)
  File "/home/user/.vmpool-15.py", line 2, in f
    return 1 / x
           ~~^~~
ZeroDivisionError: division by zero`,
    ["error 2:+8 ZeroDivisionError: division by zero <- 4 in <module>"],
  ],
  [
    "two tracebacks, one the cause of the other",
    "python",
    `Traceback (most recent call last):
  File "a.py", line 2, in <module>
    {}["a"]
    ~~^^^^^
KeyError: 'a'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "a.py", line 4, in <module>
    raise ValueError("bad") from error
ValueError: bad`,
    ["error 2:+1 KeyError: 'a'", "error 4 ValueError: bad"],
  ],
  [
    "a syntax error, of a version by name",
    "python3.13",
    `  File "/home/user/.vmpool-37.py", line 2
    def g(:
          ^
SyntaxError: invalid syntax`,
    ["error 2:+7 SyntaxError: invalid syntax"],
  ],
  ["words that are no traceback", "python", "Error: not one\n  nothing", []],
  [
    "gcc",
    "c",
    `/tmp/.vmpool-1/main.c: In function ‘main’:
/tmp/.vmpool-1/main.c:3:18: warning: initialization of ‘int’ from ‘char *’ [-Wint-conversion]
    3 |     int unused = "x";
/tmp/.vmpool-1/main.c:5:12: error: ‘missing’ undeclared
/tmp/.vmpool-1/main.c:5:12: note: each undeclared identifier is reported only once`,
    [
      "warning 3:18 initialization of ‘int’ from ‘char *’ [-Wint-conversion]",
      "error 5:12 ‘missing’ undeclared <- 5 each undeclared identifier is reported only once",
    ],
  ],
  ["clang, in colours", "cpp", "\u001b[1mmain.cpp:2:3: \u001b[0m\u001b[0;1;31merror: \u001b[0mno", ["error 2:3 no"]],
  [
    "javac",
    "java",
    `/tmp/.vmpool-7/Main.java:3: error: incompatible types: String cannot be converted to int
        int x = "s";
                ^
/tmp/.vmpool-7/Main.java:4: error: cannot find symbol
        System.out.println(y);
                           ^
  symbol:   variable y
  location: class Main
2 errors
error: compilation failed`,
    [
      "error 3:17 incompatible types: String cannot be converted to int",
      "error 4:28 cannot find symbol\nsymbol:   variable y\nlocation: class Main",
    ],
  ],
  [
    "an exception of Java",
    "java",
    `Exception in thread "main" java.lang.IllegalStateException: no
	at java.base/java.util.Objects.requireNonNull(Objects.java:233)
	at Main.f(Main.java:2)
	at Main.main(Main.java:4)`,
    ["error 2 java.lang.IllegalStateException: no <- 4 in Main.main"],
  ],
  [
    "go",
    "go",
    "# command-line-arguments\n/tmp/.vmpool-5/main.go:6:2: x declared but not used\n/tmp/.vmpool-5/main.go:7:14: undefined: y",
    ["error 6:2 x declared but not used", "error 7:14 undefined: y"],
  ],
  [
    "a panic of Go",
    "go",
    `panic: runtime error: index out of range [3] with length 1

goroutine 1 [running]:
main.f(...)
	/tmp/.vmpool-27/main.go:3
main.main()
	/tmp/.vmpool-27/main.go:6 +0x1d`,
    ["error 3 panic: runtime error: index out of range [3] with length 1 <- 6 called here"],
  ],
  [
    "rustc",
    "rust",
    `error[E0425]: cannot find value \`y\` in this scope
 --> /tmp/.vmpool-19/main.rs:4:20
  |
4 |     println!("{}", y);
  |                    ^

error: aborting due to 1 previous error`,
    ["error 4:20 cannot find value `y` in this scope [E0425]"],
  ],
  [
    "a panic of Rust",
    "rust",
    "\nthread 'main' (394) panicked at /tmp/.vmpool-31/main.rs:4:21:\nindex out of bounds: the len is 0 but the index is 0",
    ["error 4:21 panicked: index out of bounds: the len is 0 but the index is 0"],
  ],
  [
    "an error of JavaScript",
    "nodejs",
    `/home/user/.vmpool-9.js:2
  throw new TypeError("bad thing");
  ^

TypeError: bad thing
    at f (/home/user/.vmpool-9.js:2:9)
    at Object.<anonymous> (/home/user/.vmpool-9.js:4:1)
    at Module._compile (node:internal/modules/cjs/loader:1521:14)

Node.js v20.20.2`,
    ["error 2:9 TypeError: bad thing <- 4 in Object.<anonymous>"],
  ],
  [
    "a syntax error of JavaScript",
    "nodejs",
    `/home/user/.vmpool-33.js:2
let y = ;
        ^

SyntaxError: Unexpected token ';'
    at wrapSafe (node:internal/modules/cjs/loader:1464:18)`,
    ["error 2:9 SyntaxError: Unexpected token ';'"],
  ],
  ["a cell of JavaScript", "nodejs", "<cell 1>:2\na.b.c\n    ^\n\nTypeError: no\n    at <cell 1>:2:5", ["error 2:5 TypeError: no"]],
  [
    "what esbuild says of TypeScript",
    "typescript",
    '✘ [ERROR] Unexpected ";"\n\n    .vmpool-41.ts:2:10:\n      2 │ const y = ;\n        ╵           ^\n',
    ['error 2:11 Unexpected ";"'],
  ],
  ["what tsc says", "typescript", "main.ts(3,7): error TS2322: Type 'x'.", ["error 3:7 TS2322: Type 'x'."]],
  [
    "an error of Ruby",
    "ruby",
    "/home/user/.vmpool-17.rb:2:in `f': undefined method `upcase' for 1:Integer (NoMethodError)\n\n  x.upcase\n\tfrom /home/user/.vmpool-17.rb:4:in `<main>'",
    ["error 2 undefined method `upcase' for 1:Integer (NoMethodError) <- 4 in <main>"],
  ],
  ["a syntax error of Ruby", "ruby", "/home/user/.vmpool-39.rb:3: syntax error, unexpected end-of-input", ["error 3 syntax error, unexpected end-of-input"]],
  [
    "PHP",
    "php",
    `Warning: Undefined variable $undefined in /home/user/.vmpool-11.php on line 3
Fatal error: Uncaught DivisionByZeroError: Division by zero in /home/user/.vmpool-11.php:2
Stack trace:
#0 /home/user/.vmpool-11.php(2): intdiv(1, 0)
#1 /home/user/.vmpool-11.php(4): f(1)
#2 {main}
  thrown in /home/user/.vmpool-11.php on line 2`,
    [
      "warning 3 Undefined variable $undefined",
      "error 2 Uncaught DivisionByZeroError: Division by zero <- 4 in f(1) <- 2 in intdiv(1, 0)",
    ],
  ],
  ["Perl", "perl", "no at /home/user/.vmpool-13.pl line 3.", ["error 3 no"]],
  ["Bash", "bash", "hi\n/home/user/.vmpool-21.sh: line 2: nosuchcommand: command not found", ["error 2 nosuchcommand: command not found"]],
  ["a language of which nothing is known", "cobol", "main.c:1:1: error: no", []],
];

describe("what is said of a place", () => {
  test.each(CASES)("%s", (_what, language, text, findings) => {
    expect(findingsOf(language, text).map(brief)).toEqual(findings);
  });

  test("a flood of errors is cut, and a long line stops nobody", () => {
    const flood = Array.from({ length: 1_000 }, (_none, at) => `main.c:${at + 1}:1: error: no`).join("\n");
    expect(findingsOf("c", flood)).toHaveLength(200);
    for (const language of ["python", "nodejs", "php", "ruby", "java", "go", "rust", "c", "perl", "bash", "typescript"]) {
      for (const piece of ["a ", "at ", "(", "./", "a:1:", " in "]) {
        expect(findingsOf(language, piece.repeat(300_000)).length).toBeLessThanOrEqual(200);
      }
    }
  });
});

test("what a name in an error stands for", () => {
  expect(meaningOf("/home/user/.vmpool-15.py")).toEqual({ kind: "source" });
  expect(meaningOf(".vmpool-41.ts")).toEqual({ kind: "source" });
  expect(meaningOf("/tmp/.vmpool-5/main.go")).toEqual({ kind: "source" });
  expect(meaningOf("Main.java")).toEqual({ kind: "source" });
  expect(meaningOf("<cell 12>")).toEqual({ kind: "cell", number: 12 });
  expect(meaningOf("<string>")).toEqual({ kind: "nothing" });
  expect(meaningOf("/usr/lib/python3/x.py")).toEqual({ kind: "vm", path: "/usr/lib/python3/x.py" });
  expect(meaningOf("lib/a.py", "/home/user/project")).toEqual({ kind: "vm", path: "/home/user/project/lib/a.py" });
});

test("a place of a selection is found in its document", () => {
  expect(inDocument({ line: 10, character: 4 }, 1, 3)).toEqual({ line: 10, character: 6 });
  expect(inDocument({ line: 10, character: 4 }, 3, 3)).toEqual({ line: 12, character: 2 });
  expect(inDocument({ line: 0, character: 0 }, 2, undefined)).toEqual({ line: 1, character: null });
});
