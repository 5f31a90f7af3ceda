/** The results that pytest writes as JUnit XML. */

export type Outcome = "passed" | "failed" | "errored" | "skipped";

export interface Result {
  /** `tests.test_a.TestX`; empty where the file itself could not be collected. */
  readonly classname: string;
  readonly name: string;
  readonly seconds: number;
  readonly outcome: Outcome;
  readonly message: string;
  /** The traceback. */
  readonly text: string;
}

const TAG = /<(\/?)([\w:-]+)((?:\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(\/?)>/g;
const ATTRIBUTE = /([\w:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;
const OUTCOMES: Readonly<Record<string, Outcome>> = { failure: "failed", error: "errored", skipped: "skipped" };

/** The test cases of a report.  A report that is cut holds those that are whole. */
export function resultsOf(xml: string): Result[] {
  const found: Result[] = [];
  let current: { -readonly [K in keyof Result]: Result[K] } | null = null;
  let textFrom = 0;
  for (const match of xml.matchAll(TAG)) {
    const [whole, closing, name = "", attributes = "", empty] = match;
    const end = match.index + whole.length;
    if (name === "testcase") {
      if (closing) {
        if (current) found.push(current);
        current = null;
        continue;
      }
      const { classname = "", name: test = "", time = "0" } = attributesOf(attributes);
      current = { classname, name: test, seconds: Number(time) || 0, outcome: "passed", message: "", text: "" };
      if (empty) {
        found.push(current);
        current = null;
      }
      continue;
    }
    const outcome = OUTCOMES[name];
    if (!current || outcome === undefined) continue;
    if (closing) {
      current.text = decoded(xml.slice(textFrom, match.index));
      continue;
    }
    textFrom = end;
    // an error while a fixture is torn down comes after a failure, which says more
    if (current.outcome === "passed" || outcome === "failed") {
      current.outcome = outcome;
      current.message = attributesOf(attributes)["message"] ?? "";
    }
  }
  return found;
}

function attributesOf(text: string): Record<string, string> {
  return Object.fromEntries([...text.matchAll(ATTRIBUTE)].map(([, name = "", double, single]) => [name, decoded(double ?? single ?? "")]));
}

const NAMED: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function decoded(text: string): string {
  return text
    .replaceAll(/<!\[CDATA\[([\s\S]*?)\]\]>/g, (_whole, inside: string) => inside.replaceAll("&", "&amp;"))
    .replaceAll(/&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(\w+));/g, (whole, hex?: string, decimal?: string, name?: string) => {
      const code = hex !== undefined ? parseInt(hex, 16) : decimal !== undefined ? Number(decimal) : null;
      if (code !== null) return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
      return NAMED[name ?? ""] ?? whole;
    });
}

/** What a result is of, as `file::TestX::test_y`; parameters are left out: `test_y[1]` is a result of `test_y`. */
export function nodeOf(result: Result, files: readonly string[]): string | null {
  const dotted = result.classname === "" ? result.name : result.classname;
  const file = files.find((path) => {
    const module = moduleOf(path);
    return dotted === module || dotted.startsWith(`${module}.`);
  });
  if (file === undefined) return null;
  if (result.classname === "") return file; // it could not be collected
  const classes = dotted.slice(moduleOf(file).length + 1).split(".").filter(Boolean);
  return [file, ...classes, result.name.replace(/\[.*$/s, "")].join("::");
}

function moduleOf(path: string): string {
  return path.replace(/\.py$/, "").replaceAll("/", ".");
}

/** Where a test has failed: the last line of its traceback that names a file of the project; from 1. */
export function placeOf(text: string): { readonly file: string; readonly line: number } | null {
  const places = [...text.matchAll(/^(?:E\s+)?(?:File ")?([^\s:"]+\.py)"?(?::|, line )(\d+)(?::|,|$)/gm)];
  const own = places.filter(([, file = ""]) => !file.startsWith("/") && !file.startsWith(".."));
  const [, file, line] = own[own.length - 1] ?? [];
  return file === undefined ? null : { file, line: Number(line) };
}
