/** The tests of a Python file, read off its text as pytest would collect them, without running any of it. */

export interface Found {
  /** As pytest names it: `test_x`, or `TestY` with tests in it. */
  readonly name: string;
  /** From 0. */
  readonly line: number;
  readonly children: readonly Found[];
}

const DEFINITION = /^(\s*)(?:async\s+)?(def|class)\s+([A-Za-z_]\w*)/;
const QUOTES = /("""|''')/g;

/** Whether pytest would look into a file of this name. */
export function isTestFile(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return /^test_.*\.py$|^.*_test\.py$/.test(name);
}

export function testsOf(text: string): Found[] {
  const found: Found[] = [];
  const classes: { readonly indent: number; readonly children: Found[] | null }[] = [];
  codeLines(text).forEach((source, line) => {
    const match = DEFINITION.exec(source);
    if (!match) return;
    const [, blanks = "", kind, name = ""] = match;
    const indent = blanks.replaceAll("\t", "        ").length;
    while (classes.length > 0 && (classes[classes.length - 1]?.indent ?? 0) >= indent) classes.pop();
    const around = classes[classes.length - 1];
    const here = around === undefined ? (indent === 0 ? found : null) : around.children;
    const isTest = kind === "def" ? name.startsWith("test") : name.startsWith("Test") || /\(.*TestCase\b/.test(source);
    const made: Found = { name, line, children: [] };
    if (isTest) here?.push(made);
    // what stands inside a function, or inside a class that is none of tests, is not collected
    classes.push({ indent, children: isTest && kind === "class" && here ? (made.children as Found[]) : null });
  });
  return found.filter(holdsTests);
}

function holdsTests(found: Found): boolean {
  return found.name.startsWith("test") || found.children.some(holdsTests);
}

/** The lines, those that stand inside of strings over several lines blanked. */
function codeLines(text: string): string[] {
  let open: string | null = null;
  return text.split(/\r?\n/).map((line) => {
    const inside = open !== null;
    if (!inside && line.trimStart().startsWith("#")) return "";
    for (const [quote] of line.matchAll(QUOTES)) {
      if (open === null) open = quote;
      else if (open === quote) open = null;
    }
    return inside ? "" : line;
  });
}
