/** The size of a VM, as it is typed. */
import type { CreateVM } from "./api/types";

export interface Size {
  readonly cpu_limit: NonNullable<CreateVM["cpu_limit"]>;
  readonly memory_limit: NonNullable<CreateVM["memory_limit"]>;
  readonly disk_limit: NonNullable<CreateVM["disk_limit"]>;
}

/** Cores, memory and disk; null where they are none. */
export function sizeOf(text: string): Size | null {
  const found = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  const [cpu, memory, disk] = found;
  if (found.length !== 3 || cpu === undefined || memory === undefined || disk === undefined) return null;
  if (!found.every((value) => value > 0) || !Number.isInteger(memory) || !Number.isInteger(disk)) return null;
  return { cpu_limit: cpu, memory_limit: memory, disk_limit: disk };
}
