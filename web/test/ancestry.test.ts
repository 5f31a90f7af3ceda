import { describe, expect, it } from "vitest";
import type { Snapshot } from "../src/api/types";
import { ancestry } from "../src/model/ancestry";

const snapshot = (id: number, parent_id: number | null = null): Snapshot => ({
  id,
  vm_id: 1,
  name: `s${id}`,
  size: 0,
  created_at: "2026-01-01T00:00:00Z",
  parent_id,
  backend: "fake",
  base: "python",
  sealed: true,
});

describe("ancestry", () => {
  it("has each below the one it came after, oldest first", () => {
    const found = [snapshot(5), snapshot(4, 1), snapshot(3, 2), snapshot(2, 1), snapshot(1)];
    expect(ancestry(found).map(({ depth, of }) => [depth, of.id])).toEqual([
      [0, 1],
      [1, 2],
      [2, 3],
      [1, 4],
      [0, 5],
    ]);
  });

  it("has one whose parent is not there by itself", () => {
    const lines = ancestry([snapshot(8, 7), snapshot(7, 6)]);
    expect(lines.map(({ depth, of, after }) => [depth, of.id, after?.id])).toEqual([
      [0, 7, undefined],
      [1, 8, 7],
    ]);
  });
});
