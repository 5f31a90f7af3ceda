import { expect, test, vi } from "vitest";
import { fromPanel, type ToPanel } from "../src/results/messages";
import { LONGEST_PART, MOST_ENTRIES, appended, begun, ended, formOf, grouped, tableOf } from "../src/results/model";
import { Results } from "../src/results/results";

test("output of one stream goes on, another one begins anew", () => {
  let entry = begun(1, "x", 0, ["a", "b"]);
  entry = appended(entry, 0, [{ kind: "text", stream: "stdout", text: "one" }]);
  entry = appended(entry, 0, [
    { kind: "text", stream: "stdout", text: " two" },
    { kind: "text", stream: "stderr", text: "!" },
  ]);
  expect(entry.parts[0]?.items).toEqual([
    { kind: "text", stream: "stdout", text: "one two" },
    { kind: "text", stream: "stderr", text: "!" },
  ]);
  expect(entry.parts[1]?.items).toEqual([]);
});

test("too much output is left out, and that is said", () => {
  const text = "x".repeat(LONGEST_PART - 10);
  let entry = appended(begun(1, "x", 0, ["a"]), 0, [{ kind: "text", stream: "stdout", text }]);
  entry = appended(entry, 0, [{ kind: "data", data: { "text/plain": "far too much" } }]);
  expect(entry.parts[0]?.cut).toBe(true);
  expect(entry.parts[0]?.items).toHaveLength(1);
});

test("VMs that put out the same are one group", () => {
  let entry = begun(1, "x", 0, ["a", "b", "c"]);
  for (const [place, text] of ["same", "other", "same"].entries()) {
    entry = ended(appended(entry, place, [{ kind: "text", stream: "stdout", text }]), place, "exit 0", true);
  }
  expect(grouped(entry.parts).map((group) => group.vms)).toEqual([["a", "c"], ["b"]]);
});

test("the richest form is shown", () => {
  expect(formOf({ "text/plain": "x", "image/png": "…", "text/html": "<b>" })).toBe("text/html");
  expect(formOf({ "text/plain": "x", "application/json": null })).toBe("text/plain");
  expect(formOf({ "application/x-unknown": "x" })).toBeNull();
});

test("a list of objects is a table", () => {
  expect(tableOf([{ a: 1, b: "x" }, { a: 2, c: null }])).toEqual({
    columns: ["a", "b", "c"],
    rows: [
      ["1", "x", ""],
      ["2", "", "null"],
    ],
    more: 0,
  });
  expect(tableOf(Array.from({ length: 700 }, () => ({ a: 1 })))?.more).toBe(200);
  for (const other of [[], [1], {}, null, "x", [[]], [{}]]) expect(tableOf(other)).toBeNull();
});

test("what the panel says is not believed", () => {
  expect(fromPanel({ type: "cancel", id: 3 })).toEqual({ type: "cancel", id: 3 });
  const link = { path: "a.py", line: 1, column: 1, start: 0, length: 1 };
  expect(fromPanel({ type: "open", id: 1, place: 0, link })).toEqual({ type: "open", id: 1, place: 0, link });
  expect(fromPanel({ type: "open", id: 1, place: 0, link: { ...link, line: "1" } })).toBeNull();
  for (const wrong of [null, 1, "ready", {}, { type: "cancel" }, { type: "cancel", id: "3" }, { type: "copy" }, { type: "eval", text: "x" }]) {
    expect(fromPanel(wrong)).toBeNull();
  }
});

test("output is gathered for the panel, and ended entries are forgotten when asked", () => {
  vi.useFakeTimers();
  const results = new Results();
  const told: ToPanel[] = [];
  results.onDidChange((message) => told.push(message));
  const stopped: string[] = [];
  const one = results.begin("one", ["a"], () => stopped.push("one"));
  const two = results.begin("two", ["a"], () => stopped.push("two"));
  one.add(0, [{ kind: "text", stream: "stdout", text: "x" }]);
  one.add(0, [{ kind: "text", stream: "stdout", text: "y" }]);
  expect(told.map(({ type }) => type)).toEqual(["begun", "begun"]);
  vi.advanceTimersByTime(60);
  expect(told.filter(({ type }) => type === "output")).toHaveLength(1);
  one.add(0, [{ kind: "text", stream: "stdout", text: "z" }]);
  one.end(0, "exit 0", true);
  expect(told.slice(-2).map(({ type }) => type)).toEqual(["output", "ended"]);
  expect(results.entries[0]?.parts[0]?.items).toEqual([{ kind: "text", stream: "stdout", text: "xyz" }]);
  results.cancel(2);
  expect(stopped).toEqual(["two"]);
  results.clear();
  expect(results.entries.map((entry) => entry.title)).toEqual(["two"]);
  two.end(0, "cancelled", false);
  results.dispose();
  vi.useRealTimers();
});

test("only so many entries are kept", () => {
  const results = new Results();
  for (let number = 0; number < MOST_ENTRIES + 3; number++) results.begin(String(number), ["a"], () => undefined);
  expect(results.entries).toHaveLength(MOST_ENTRIES);
  expect(results.entries[0]?.title).toBe("3");
  results.dispose();
});
