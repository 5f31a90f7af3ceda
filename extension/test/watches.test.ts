import { expect, test } from "vitest";
import type { PoolClient } from "../src/api/client";
import { PoolError } from "../src/api/problem";
import { Watches, changesOf, covers, type Changed, type Place } from "../src/files/watches";

test("changes, as an editor is told of them", () => {
  const change = (kind: "created" | "changed" | "removed" | "attributes" | "lost", encoded_path: string) => changesOf("/home/user", { kind, encoded_path });
  expect(change("created", "a%20b/c")).toEqual([{ kind: "created", path: "/home/user/a b/c" }]);
  expect(change("attributes", "x")).toEqual([{ kind: "changed", path: "/home/user/x" }]);
  expect(change("removed", "")).toEqual([{ kind: "deleted", path: "/home/user" }]);
  expect(change("changed", "%FF")).toEqual([]);
  expect(change("created", "sub/.vmpool-71.py")).toEqual([]);
  expect(change("lost", "")).toBeNull();
  expect(changesOf("/", { kind: "moved", encoded_path: "b", encoded_moved_from: "a" })).toEqual([
    { kind: "deleted", path: "/a" },
    { kind: "created", path: "/b" },
  ]);
});

const place = (path: string, recursive = true, vm = "box"): Place => ({ vm, path, recursive });

test("what lies below a place that is watched is", () => {
  expect(covers(place("/a"), place("/a/b", false))).toBe(true);
  expect(covers(place("/"), place("/a"))).toBe(true);
  expect(covers(place("/a"), place("/ab"))).toBe(false);
  expect(covers(place("/a", false), place("/a/b", false))).toBe(false);
  expect(covers(place("/a", false), place("/a"))).toBe(false);
  expect(covers(place("/a"), place("/a", true, "other"))).toBe(false);
});

/** A server whose streams say what the test pushes into them. */
function served() {
  const open = new Map<string, { push: (event: string, data: object) => void; fail: (error: Error) => void }>();
  const client = {
    async *events(_method: string, _path: string, { query, signal }: { query: { path: string }; signal: AbortSignal }) {
      const waiting: { event: string; data: string }[] = [];
      let wake: () => void = () => undefined;
      const state: { failure?: Error } = {};
      const woken = () => new Promise<void>((resolve) => (wake = resolve));
      open.set(query.path, {
        push: (event, data) => {
          waiting.push({ event, data: JSON.stringify(data) });
          wake();
        },
        fail: (error) => {
          state.failure = error;
          wake();
        },
      });
      signal.addEventListener("abort", () => wake());
      try {
        for (;;) {
          while (waiting.length > 0) yield waiting.shift() as { event: string; data: string };
          if (signal.aborted) throw Object.assign(new Error("over"), { name: "AbortError" });
          if (state.failure) throw state.failure;
          await woken();
        }
      } finally {
        open.delete(query.path);
      }
    },
  };
  return { open, client: client as unknown as PoolClient };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

test("one stream for a folder and what lies in it; it ends with the last who wants it", async () => {
  const { open, client } = served();
  const heard: Changed[] = [];
  const unsure: string[] = [];
  const watches = new Watches(() => Promise.resolve(client), {
    changed: (_vm, changes) => heard.push(...changes),
    unsure: ({ path }) => unsure.push(path),
    failed: () => undefined,
  });
  const file = watches.add(place("/w/a.txt", false));
  const folder = watches.add(place("/w"));
  const again = watches.add(place("/w"));
  await settled();
  expect([...open.keys()]).toEqual(["/w"]);
  open.get("/w")?.push("watching", { directories: 1 });
  open.get("/w")?.push("change", { kind: "changed", encoded_path: "a.txt", directory: false });
  open.get("/w")?.push("change", { kind: "lost", encoded_path: "", directory: false });
  await settled();
  expect(heard).toEqual([{ kind: "changed", path: "/w/a.txt" }]);
  expect(unsure).toEqual(["/w", "/w"]);
  folder();
  await settled();
  expect([...open.keys()]).toEqual(["/w"]);
  again();
  await settled();
  expect([...open.keys()]).toEqual(["/w/a.txt"]);
  file();
  await settled();
  expect([...open.keys()]).toEqual([]);
});

test("where its VM stops, a place is watched again once that runs", async () => {
  const { open, client } = served();
  const failed: unknown[] = [];
  const watches = new Watches(() => Promise.resolve(client), {
    changed: () => undefined,
    unsure: () => undefined,
    failed: (_place, error) => failed.push(error),
  });
  watches.add(place("/w"));
  await settled();
  expect(watches.has(place("/w/x", false))).toBe(true);
  open.get("/w")?.fail(new PoolError(409, "vm_not_running", "it is stopped"));
  await settled();
  expect(failed).toHaveLength(1);
  expect(watches.has(place("/w/x", false))).toBe(false);
  expect([...open.keys()]).toEqual([]);
  watches.revive("other");
  await settled();
  expect([...open.keys()]).toEqual([]);
  watches.revive("box");
  await settled();
  expect([...open.keys()]).toEqual(["/w"]);
  watches.dispose();
  await settled();
  expect([...open.keys()]).toEqual([]);
});
