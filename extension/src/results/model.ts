/** Results as the panel shows them: runs, what each VM put out, and which VMs put out the same. */

export type Item =
  | { readonly kind: "text"; readonly stream: "stdout" | "stderr"; readonly text: string }
  /** A value by MIME type: text, Base64 where the type is binary, or JSON. */
  | { readonly kind: "data"; readonly data: Readonly<Record<string, unknown>> }
  | { readonly kind: "error"; readonly text: string };

export interface Part {
  readonly vm: string;
  readonly items: readonly Item[];
  /** How it ended, in a few words; null: it goes on. */
  readonly ending: string | null;
  readonly ok: boolean;
  /** Something was left out, because it was too much. */
  readonly cut: boolean;
}

export interface Entry {
  readonly id: number;
  readonly title: string;
  /** Milliseconds since 1970. */
  readonly begun: number;
  readonly parts: readonly Part[];
}

/** Characters that are kept of one VM's part, and entries altogether. */
export const LONGEST_PART = 2_000_000;
export const MOST_ENTRIES = 50;

export function begun(id: number, title: string, begunAt: number, vms: readonly string[]): Entry {
  const parts = vms.map((vm): Part => ({ vm, items: [], ending: null, ok: false, cut: false }));
  return { id, title, begun: begunAt, parts };
}

/** The entry with more output of one VM: text goes on where text of the same stream ended. */
export function appended(entry: Entry, place: number, items: readonly Item[]): Entry {
  return withPart(entry, place, (part) => {
    const kept = [...part.items];
    let room = LONGEST_PART - kept.reduce((sum, item) => sum + weight(item), 0);
    let { cut } = part;
    for (const item of items) {
      const last = kept[kept.length - 1];
      if (weight(item) > room) {
        cut = true;
        continue;
      }
      room -= weight(item);
      if (item.kind === "text" && last?.kind === "text" && last.stream === item.stream) {
        kept[kept.length - 1] = { ...last, text: last.text + item.text };
      } else kept.push(item);
    }
    return { ...part, items: kept, cut };
  });
}

export function ended(entry: Entry, place: number, ending: string, ok: boolean): Entry {
  return withPart(entry, place, (part) => ({ ...part, ending, ok }));
}

function withPart(entry: Entry, place: number, change: (part: Part) => Part): Entry {
  return { ...entry, parts: entry.parts.map((part, at) => (at === place ? change(part) : part)) };
}

function weight(item: Item): number {
  return item.kind === "data" ? JSON.stringify(item.data).length : item.text.length;
}

export interface Group {
  readonly vms: readonly string[];
  readonly part: Part;
}

/** Parts that are the same stand together, in the order of the first of each. */
export function grouped(parts: readonly Part[]): Group[] {
  const groups = new Map<string, { vms: string[]; part: Part }>();
  for (const part of parts) {
    const key = JSON.stringify([part.ending, part.ok, part.cut, part.items]);
    const group = groups.get(key);
    if (group) group.vms.push(part.vm);
    else groups.set(key, { vms: [part.vm], part });
  }
  return [...groups.values()];
}

/** The forms of a value that can be shown, the richest first. */
const RICHEST = [
  "text/html",
  "image/svg+xml",
  "image/png",
  "image/jpeg",
  "image/gif",
  "image/webp",
  "application/json",
  "text/markdown",
  "text/latex",
  "text/plain",
] as const;
export type Form = (typeof RICHEST)[number];

/** The richest form of a value that can be shown; null where there is none. */
export function formOf(data: Readonly<Record<string, unknown>>): Form | null {
  return RICHEST.find((form) => data[form] !== undefined && data[form] !== null) ?? null;
}

export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Rows there are besides those. */
  readonly more: number;
}

const MOST_ROWS = 500;
const MOST_COLUMNS = 50;

/** JSON that is a list of objects, as a table; null where it is none. */
export function tableOf(value: unknown): Table | null {
  if (!Array.isArray(value) || value.length === 0) return null;
  const objects = value.filter((row): row is Record<string, unknown> => typeof row === "object" && row !== null && !Array.isArray(row));
  if (objects.length !== value.length) return null;
  const columns = [...new Set(objects.slice(0, MOST_ROWS).flatMap((row) => Object.keys(row)))].slice(0, MOST_COLUMNS);
  if (columns.length === 0) return null;
  const rows = objects.slice(0, MOST_ROWS).map((row) => columns.map((column) => shown(row[column])));
  return { columns, rows, more: objects.length - rows.length };
}

function shown(value: unknown): string {
  if (value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
