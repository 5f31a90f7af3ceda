/** Places in files, in what programs write: `/home/user/a.py:3:1`, `File "a.py", line 3`. */

export interface PlaceLink {
  /** Where it stands in the line. */
  readonly start: number;
  readonly length: number;
  /** As it was written. */
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
}

const PLACE = /File "([^"]{1,500})", line (\d{1,7})|((?:\.{0,2}\/)?[\w.@+-]+(?:\/[\w.@+-]+)*\.\w{1,8}):(\d{1,7})(?::(\d{1,7}))?/g;
/** Of a line, what is looked at. */
const LONGEST = 2_000;

export function placesIn(text: string): PlaceLink[] {
  return [...text.slice(0, LONGEST).matchAll(PLACE)].map((match) => ({
    start: match.index,
    length: match[0].length,
    path: match[1] ?? match[3] ?? "",
    line: Number(match[2] ?? match[4] ?? 1),
    column: Number(match[5] ?? 1),
  }));
}
