/** Tracebacks and syntax errors of Python. */
import { linesOf, place, type Finding, type Place, type Related } from "./finding";

const FRAME = /^ *File "([^"]+)", line (\d+)(?:, in (.+))?$/;
const HEAD = /^Traceback \(most recent call last\):$/;
const ERROR = /^[A-Za-z_][\w.]*(?:: ?.*)?$/;
const MARKED = /^(\s*)([~^]*\^[~^]*)\s*$/;
/** Lines of a message that are shown. */
const LONGEST_MESSAGE = 20;

/** One finding for each traceback: at its innermost frame, with the others beside it. */
export function python(text: string): Finding[] {
  const found: Finding[] = [];
  let frames: Related[] = [];
  const lines = linesOf(text);
  lines.forEach((line, at) => {
    if (HEAD.test(line)) frames = [];
    const frame = FRAME.exec(line);
    if (frame) {
      const where = { ...place(frame[1], frame[2]), ...marked(lines, at) };
      frames.push({ ...where, message: frame[3] === undefined ? "here" : `in ${frame[3]}` });
      return;
    }
    if (!ERROR.test(line)) return;
    const last = frames.pop();
    if (last) found.push({ ...last, severity: "error", message: message(lines, at), source: "python", related: frames });
    frames = [];
  });
  return found;
}

/** A message goes on until an empty line or the next traceback. */
function message(lines: readonly string[], at: number): string {
  const more = lines.slice(at + 1, at + LONGEST_MESSAGE);
  const end = more.findIndex((line) => line === "" || HEAD.test(line) || FRAME.test(line));
  return [lines[at], ...(end < 0 ? more : more.slice(0, end))].join("\n");
}

/** What is marked below a frame.  Its source line is shown with its own indentation replaced by four blanks. */
function marked(lines: readonly string[], at: number): Pick<Place, "column" | "fromIndent" | "length"> {
  const source = lines[at + 1];
  const mark = MARKED.exec(lines[at + 2] ?? "");
  if (source === undefined || mark === null) return {};
  const indent = source.length - source.trimStart().length;
  const from = (mark[1] ?? "").length - indent;
  return from < 0 ? {} : { column: from + 1, fromIndent: true, length: (mark[2] ?? "^").length };
}
