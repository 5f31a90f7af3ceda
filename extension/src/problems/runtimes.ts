/** What programs say when they end by an error: JavaScript, Java, Go, Rust, Ruby, PHP, Perl, Bash. */
import { linesOf, place, type Finding, type Parser, type Place, type Related, type Severity } from "./finding";

const NODE_FRAME = /^\s+at (?:(.*?) \()?(?:file:\/\/)?([^()]+?):(\d+):(\d+)\)?$/;
const NODE_SHOWN = /^(?:file:\/\/)?((?:\/|<|[A-Za-z]:\\|\.)[^:]*):(\d+)$/;
const NODE_ERROR = /^(?:Uncaught )?([A-Za-z_$][\w$.]*(?:Error|Exception)?(?: \[\w+\])?): (.*)$/;
const NODE_OWN = /^node:|\/node_modules\//;

/** An error that nobody caught, or a syntax error, with the frames that are the program's own. */
export const node: Parser = (text) => {
  const found: Finding[] = [];
  const lines = linesOf(text);
  let shown: Place | null = null;
  lines.forEach((line, at) => {
    const source = NODE_SHOWN.exec(line);
    if (source) shown = { ...place(source[1], source[2]), ...caret(lines, at) };
    if (!NODE_ERROR.test(line)) return;
    const frames = nodeFrames(lines, at + 1);
    const [first] = frames;
    // the innermost frame knows the column; a syntax error has no frame of its own
    const framed = first !== undefined && (shown === null || (first.file === shown.file && first.line === shown.line));
    const where = framed ? withoutMessage(first) : shown;
    if (where !== null) {
      const related = (framed ? frames.slice(1) : frames).reverse();
      found.push({ ...where, severity: "error", message: line, source: "node", related });
    }
    shown = null;
  });
  return found;
};

function nodeFrames(lines: readonly string[], from: number): Related[] {
  const frames: Related[] = [];
  for (const line of lines.slice(from, from + 100)) {
    const frame = NODE_FRAME.exec(line);
    if (!frame) {
      if (frames.length > 0 || !/^\s/.test(line)) break;
      continue;
    }
    if (NODE_OWN.test(frame[2] ?? "")) continue;
    frames.push({ ...place(frame[2], frame[3], frame[4]), message: frame[1] === undefined ? "at the top" : `in ${frame[1]}` });
  }
  return frames;
}

/** The column marked below a source line that is shown as it is. */
function caret(lines: readonly string[], at: number): Pick<Place, "column" | "length"> {
  const mark = /^(\s*)(\^+)\s*$/.exec(lines[at + 2] ?? "");
  return mark ? { column: (mark[1] ?? "").length + 1, length: (mark[2] ?? "^").length } : {};
}

/** A frame's place, without what is said of it. */
function withoutMessage({ file, line, column }: Place): Place {
  return column === undefined ? { file, line } : { file, line, column };
}

const JAVA_HEAD = /^(?:Exception in thread "[^"]*" )?((?:[a-z_][\w]*\.)+[A-Z]\w*(?:: .*)?)$/;
const JAVA_FRAME = /^\s+at (?:[\w.$]+\/)?([\w.$<>]+)\(([\w$]+\.java):(\d+)\)$/;

export const java: Parser = (text) =>
  traced(text, "java", (line) => JAVA_HEAD.exec(line)?.[1], (line) => {
    const frame = JAVA_FRAME.exec(line);
    if (!frame || /^(?:java|javax|jdk|sun)\./.test(frame[1] ?? "")) return null;
    return { ...place(frame[2], frame[3]), message: `in ${frame[1] ?? ""}` };
  });

const GO_HEAD = /^(?:panic: |fatal error: )(.*)$/;
const GO_FRAME = /^\t(\S+\.go):(\d+)(?: \+0x[0-9a-f]+)?$/;
const GO_OWN = /\/(?:go|golang|go-[\d.]+)\/src\//;

export const goPanic: Parser = (text) =>
  traced(text, "go", (line) => GO_HEAD.exec(line)?.[0], (line) => {
    const frame = GO_FRAME.exec(line);
    return frame && !GO_OWN.test(frame[1] ?? "") ? { ...place(frame[1], frame[2]), message: "called here" } : null;
  });

/** A head, then frames, the innermost first. */
function traced(
  text: string,
  source: string,
  headOf: (line: string) => string | undefined,
  frameOf: (line: string) => Related | null,
): Finding[] {
  const found: (Finding & { related: Related[] })[] = [];
  let message: string | null = null;
  for (const line of linesOf(text)) {
    const head = headOf(line);
    if (head !== undefined) {
      message = head;
      continue;
    }
    const frame = frameOf(line);
    if (!frame) continue;
    const current = found[found.length - 1];
    if (message === null) current?.related.unshift(frame);
    else found.push({ ...withoutMessage(frame), severity: "error", message, source, related: [] });
    message = null;
  }
  return found;
}

const RUST_PANIC = /^thread '.*?'(?: \(\d+\))? panicked at ([^:']+):(\d+):(\d+):$/;

export const rustPanic: Parser = (text) => {
  const lines = linesOf(text);
  return lines.flatMap((line, at): Finding[] => {
    const match = RUST_PANIC.exec(line);
    if (!match) return [];
    const message = `panicked: ${lines[at + 1] ?? ""}`;
    return [{ ...place(match[1], match[2], match[3]), severity: "error", message, source: "rustc", related: [] }];
  });
};

const RUBY_HEAD = /^([^\s:][^:]*):(\d+):(?:in [`'](.*)':)? (.*)$/;
const RUBY_FRAME = /^\s+(?:\d+: )?from ([^:]+):(\d+):in [`'](.*)'$/;

export const ruby: Parser = (text) => {
  const found: (Finding & { related: Related[] })[] = [];
  for (const line of linesOf(text)) {
    const head = RUBY_HEAD.exec(line);
    if (head) {
      const warning = /^warning: (.*)$/.exec(head[4] ?? "");
      const level: Severity = warning ? "warning" : "error";
      found.push({ ...place(head[1], head[2]), severity: level, message: warning?.[1] ?? head[4] ?? "", source: "ruby", related: [] });
      continue;
    }
    const frame = RUBY_FRAME.exec(line);
    if (frame) found[found.length - 1]?.related.unshift({ ...place(frame[1], frame[2]), message: `in ${frame[3] ?? ""}` });
  }
  return found;
};

const PHP = /^(?:PHP )?(Parse error|Fatal error|Warning|Notice|Deprecated): {1,2}(.*) (?:in|thrown in) (\S+?)(?: on line |:)(\d+)$/;
const PHP_FRAME = /^#\d+ ([^\s(]+)\((\d+)\): (.*)$/;

export const php: Parser = (text) => {
  const found: (Finding & { related: Related[] })[] = [];
  for (const line of linesOf(text)) {
    const said = PHP.exec(line);
    if (said) {
      const level: Severity = said[1] === "Warning" ? "warning" : /error/.test(said[1] ?? "") ? "error" : "information";
      found.push({ ...place(said[3], said[4]), severity: level, message: said[2] ?? "", source: "php", related: [] });
      continue;
    }
    const frame = PHP_FRAME.exec(line);
    if (frame) found[found.length - 1]?.related.unshift({ ...place(frame[1], frame[2]), message: `in ${frame[3] ?? ""}` });
  }
  return found;
};

const PERL = /^(.*) at (\S+) line (\d+)(?:\.|, .*)$/;

export const perl: Parser = (text) => each(text, PERL, (match) => [match[2], match[3], match[1]], "perl");

const BASH = /^(\S+): line (\d+): (.*)$/;

export const bash: Parser = (text) => each(text, BASH, (match) => [match[1], match[2], match[3]], "bash");

/** A line each, without a trace. */
function each(
  text: string,
  pattern: RegExp,
  parts: (match: RegExpExecArray) => readonly (string | undefined)[],
  source: string,
): Finding[] {
  return linesOf(text).flatMap((line): Finding[] => {
    const match = pattern.exec(line);
    if (!match) return [];
    const [file, number, message = ""] = parts(match);
    return [{ ...place(file, number), severity: "error", message, source, related: [] }];
  });
}
