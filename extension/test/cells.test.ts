import { expect, test } from "vitest";
import { cellAfter, cellAt, cellsOf } from "../src/execution/cells";

const LINES = ["import os", "# %% first", "a = 1", "", "#%%", "", "# %%   ", "b = 2", "// %% js", "c"];

test("cells are what stands between markers", () => {
  expect(cellsOf(LINES)).toEqual([
    { first: 0, last: 0, title: "cell 1" },
    { first: 2, last: 3, title: "first" },
    { first: 7, last: 7, title: "cell 3" },
    { first: 9, last: 9, title: "js" },
  ]);
});

test("a document without a marker is one cell, an empty one has none", () => {
  expect(cellsOf(["x = 1", "y"])).toEqual([{ first: 0, last: 1, title: "cell 1" }]);
  expect(cellsOf(["", "  "])).toEqual([]);
});

test("the cell at a line, and the one after it", () => {
  const cells = cellsOf(LINES);
  expect(cellAt(cells, 1)?.title).toBe("first");
  expect(cellAt(cells, 3)?.title).toBe("first");
  expect(cellAt(cells, 5)).toBeNull();
  const first = cellAt(cells, 2);
  expect(first && cellAfter(cells, first)?.first).toBe(7);
  const last = cellAt(cells, 9);
  expect(last && cellAfter(cells, last)).toBeNull();
});
