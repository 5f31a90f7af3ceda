/** What gcc, clang, javac, go, rustc, esbuild and tsc say of a source. */
import { linesOf, place, type Finding, type Place, type Related, type Severity } from "./finding";

const GCC = /^([^\s:][^:]*):(\d+):(?:(\d+):)? (fatal error|error|warning|note): (.*)$/;
const GO = /^(?:vet: )?([^\s:][^:]*\.go):(\d+):(?:(\d+):)? (.*)$/;
const JAVAC = /^([^\s:][^:]*\.java):(\d+): (?:(error|warning): )?(.*)$/;
const RUST_HEAD = /^(error|warning)(?:\[([A-Z]\d+)\])?: (.*)$/;
const RUST_AT = /^\s*(-->|:::) ([^:]+):(\d+):(\d+)$/;
const ESBUILD_HEAD = /^\S+ \[(ERROR|WARNING)\] (.*)$/;
const ESBUILD_AT = /^\s{4}([^\s:][^:]*):(\d+):(\d+):$/;
const TSC = /^([^\s(][^(]*)\((\d+),(\d+)\): (error|warning) (TS\d+: .*)$/;

/** gcc, g++ and clang: notes stand beside the finding before them. */
export function gcc(text: string): Finding[] {
  const found: (Finding & { related: Related[] })[] = [];
  for (const line of linesOf(text)) {
    const match = GCC.exec(line);
    if (!match) continue;
    const at = place(match[1], match[2], match[3]);
    const said = match[5] ?? "";
    const before = found[found.length - 1];
    if (match[4] === "note" && before) before.related.push({ ...at, message: said });
    else found.push({ ...at, severity: severity(match[4]), message: said, source: "gcc", related: [] });
  }
  return found;
}

/** The Go compiler; what a program says while it panics is `panics`'. */
export function go(text: string): Finding[] {
  return linesOf(text).flatMap((line): Finding[] => {
    const match = GO.exec(line);
    if (!match) return [];
    return [{ ...place(match[1], match[2], match[3]), severity: "error", message: match[4] ?? "", source: "go", related: [] }];
  });
}

/** javac names no column, but marks one below the source line. */
export function javac(text: string): Finding[] {
  const lines = linesOf(text);
  return lines.flatMap((line, number): Finding[] => {
    const match = JAVAC.exec(line);
    if (!match) return [];
    const below = lines.slice(number + 1, number + 12);
    const caret = below.findIndex((one) => /^\s*\^$/.test(one));
    const at: Place = place(match[1], match[2], caret > 0 ? String((below[caret] ?? "").indexOf("^") + 1) : undefined);
    const more = below.slice(caret + 1, caret + 3).filter((one) => /^ {2}(symbol|location|required|found|reason): /.test(one));
    const message = [match[4] ?? "", ...more.map((one) => one.trim())].join("\n");
    return [{ ...at, severity: severity(match[3]), message, source: "javac", related: [] }];
  });
}

/** rustc: further places of one error stand beside it. */
export function rustc(text: string): Finding[] {
  const found: Finding[] = [];
  let head: { severity: Severity; message: string } | null = null;
  let current: (Finding & { related: Related[] }) | null = null;
  for (const line of linesOf(text)) {
    const said = RUST_HEAD.exec(line);
    if (said) {
      const code = said[2] === undefined ? "" : ` [${said[2]}]`;
      head = { severity: severity(said[1]), message: `${said[3] ?? ""}${code}` };
      current = null;
      continue;
    }
    const at = RUST_AT.exec(line);
    if (!at || head === null) continue;
    const where = place(at[2], at[3], at[4]);
    if (current) current.related.push({ ...where, message: "see also" });
    else found.push((current = { ...where, ...head, source: "rustc", related: [] }));
  }
  return found;
}

/** esbuild, which takes TypeScript's types away; its columns begin at 0. */
export function esbuild(text: string): Finding[] {
  const found: Finding[] = [];
  let head: { severity: Severity; message: string } | null = null;
  for (const line of linesOf(text)) {
    const said = ESBUILD_HEAD.exec(line);
    if (said) head = { severity: severity(said[1]?.toLowerCase()), message: said[2] ?? "" };
    const at = ESBUILD_AT.exec(line);
    if (!at || head === null) continue;
    found.push({ ...place(at[1], at[2], String(Number(at[3]) + 1)), ...head, source: "typescript", related: [] });
    head = null;
  }
  return found;
}

/** The TypeScript compiler itself. */
export function tsc(text: string): Finding[] {
  return linesOf(text).flatMap((line): Finding[] => {
    const match = TSC.exec(line);
    if (!match) return [];
    const at = place(match[1], match[2], match[3]);
    return [{ ...at, severity: severity(match[4]), message: match[5] ?? "", source: "typescript", related: [] }];
  });
}

function severity(word: string | undefined): Severity {
  return word === "warning" ? "warning" : word === "note" ? "information" : "error";
}
