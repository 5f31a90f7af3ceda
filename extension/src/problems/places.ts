/** What a file's name in a program's errors stands for: the text that was run, a cell of before, a file of the VM. */

export type Meaning =
  | { readonly kind: "source" }
  | { readonly kind: "cell"; readonly number: number }
  /** path: absolute, in the VM. */
  | { readonly kind: "vm"; readonly path: string }
  | { readonly kind: "nothing" };

/** How the server names the text of an execution, in the working directory or in a directory of its own. */
const SOURCE = /(?:^|\/)\.vmpool-\d+(?:\.\w+|\/[Mm]ain\.\w+)$|^Main\.java$|^main\.\w+$|^\.\/main\.\w+$/;
const CELL = /^<cell (\d+)>$/;
const HOME = "/home/user";

/** cwd: where relative names begin. */
export function meaningOf(file: string, cwd: string = HOME): Meaning {
  if (SOURCE.test(file)) return { kind: "source" };
  const cell = CELL.exec(file);
  if (cell) return { kind: "cell", number: Number(cell[1]) };
  if (file === "" || file.startsWith("<") || file.startsWith("node:")) return { kind: "nothing" };
  return { kind: "vm", path: file.startsWith("/") ? file : `${cwd}/${file.replace(/^\.\//, "")}` };
}

/** Where a text that was run stands in its document: its first line there, and the column of that. Both from 0. */
export interface Origin {
  readonly line: number;
  readonly character: number;
}

/** A line and a column of the text that was run (from 1), as a position in its document (from 0). */
export function inDocument(origin: Origin, line: number, column: number | undefined): { line: number; character: number | null } {
  const shift = line === 1 ? origin.character : 0;
  return { line: origin.line + Math.max(0, line - 1), character: column === undefined ? null : Math.max(0, column - 1) + shift };
}
