/** Which snapshot came after which. */
import type { Snapshot } from "../api/types";

export interface Descended {
  readonly depth: number;
  readonly of: Snapshot;
  /** The one it came after, if that is in the list. */
  readonly after: Snapshot | undefined;
}

/** Each below the one it came after, the oldest first. */
export function ancestry(found: readonly Snapshot[]): readonly Descended[] {
  const known = new Map(found.map((each) => [each.id, each]));
  const below = new Map<number | undefined, Snapshot[]>();
  for (const each of [...found].sort((one, other) => other.id - one.id)) {
    const parent = each.parent_id == null ? undefined : known.get(each.parent_id)?.id;
    below.set(parent, [...(below.get(parent) ?? []), each]);
  }
  const lines: Descended[] = [];
  const pending = (below.get(undefined) ?? []).map((of) => ({ depth: 0, of }));
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { depth, of } = next;
    lines.push({ depth, of, after: of.parent_id == null ? undefined : known.get(of.parent_id) });
    pending.push(...(below.get(of.id) ?? []).map((child) => ({ depth: depth + 1, of: child })));
  }
  return lines;
}
