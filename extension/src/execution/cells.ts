/** Cells of a document: what stands between lines that begin with `# %%`, or `// %%` where that is a comment. */

export interface Cell {
  /** First and last line of its code, both counted from 0; the marker is not part of it. */
  readonly first: number;
  readonly last: number;
  readonly title: string;
}

const MARKER = /^\s*(?:#|\/\/)\s*%%(?:\s*(.*))?$/;

/** The cells in order.  A document without a marker is one cell; lines before the first marker are one too. */
export function cellsOf(lines: readonly string[]): Cell[] {
  const marks = lines.flatMap((line, at) => {
    const match = MARKER.exec(line);
    return match ? [{ at, title: (match[1] ?? "").trim() }] : [];
  });
  const cells: Cell[] = [];
  const add = (first: number, last: number, title: string) => {
    if (last >= first && lines.slice(first, last + 1).some((line) => line.trim() !== "")) {
      cells.push({ first, last, title: title || `cell ${cells.length + 1}` });
    }
  };
  add(0, (marks[0]?.at ?? lines.length) - 1, "");
  marks.forEach((mark, number) => {
    add(mark.at + 1, (marks[number + 1]?.at ?? lines.length) - 1, mark.title);
  });
  return cells;
}

/** The cell a line is in; on a marker, the one that begins there. */
export function cellAt(cells: readonly Cell[], line: number): Cell | null {
  const within = cells.find((cell) => line <= cell.last && line >= cell.first - 1);
  return within ?? null;
}

/** The cell behind this one. */
export function cellAfter(cells: readonly Cell[], cell: Cell): Cell | null {
  return cells.find((one) => one.first > cell.last) ?? null;
}
