/** What a compiler or an interpreter said of a place in a file.  Lines and columns begin at 1. */

export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column?: number;
  /** The column counts from the line's first character that is not blank. */
  readonly fromIndent?: true;
  /** Characters that are meant; without it, the word that stands there. */
  readonly length?: number;
}

export type Severity = "error" | "warning" | "information";

export interface Finding extends Place {
  readonly severity: Severity;
  readonly message: string;
  /** Who says so: `python`, `gcc`, … */
  readonly source: string;
  /** Where to look besides: the frames of a traceback, outermost first; notes of a compiler. */
  readonly related: readonly Related[];
}

export interface Related extends Place {
  readonly message: string;
}

/** Reads the findings out of what a program wrote. */
export type Parser = (text: string) => Finding[];

/** Lines longer than this hold no place: patterns are not tried on what is behind it. */
const LONGEST_LINE = 2_000;

const ESCAPES = /\u001b\[[0-9;?]*[A-Za-z]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g;

/** The lines of a text, without colours and what else a terminal would obey. */
export function linesOf(text: string): string[] {
  return text
    .replace(ESCAPES, "")
    .split(/\r?\n/)
    .map((line) => (line.length > LONGEST_LINE ? line.slice(0, LONGEST_LINE) : line));
}

/** A place, from what a pattern found. */
export function place(file: string | undefined, line: string | undefined, column?: string): Place {
  const at = { file: file ?? "", line: Number(line ?? "1") };
  return column === undefined ? at : { ...at, column: Number(column) };
}
