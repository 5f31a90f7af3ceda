import { expect, test } from "vitest";
import type { PoolClient } from "../src/api/client";
import { PoolError } from "../src/api/problem";
import type { CellOutput, VM } from "../src/api/types";
import { Kernels, cellEnding } from "../src/execution/kernels";

/** A pool of kernels: what was asked of it, and what its cells do. */
class FakePool {
  readonly asked: string[] = [];
  private made = 0;
  private cells = 0;
  cell: (context: number) => AsyncGenerator<{ event: string; data: string }> = this.well.bind(this);

  async *well(): AsyncGenerator<{ event: string; data: string }> {
    await Promise.resolve();
    this.cells += 1;
    yield { event: "output", data: JSON.stringify({ type: "stdout", text: "hi" }) };
    yield { event: "end", data: JSON.stringify({ state: "ok", number: this.cells, execution_time: 0.5, outputs: [], truncated: false }) };
  }

  request(method: string, path: string, { path: places }: { path: { context_id?: number } }): Promise<unknown> {
    this.asked.push(`${method} ${path.split("/").pop() ?? ""} ${places.context_id ?? ""}`.trim());
    this.made += method === "post" && path.endsWith("/contexts") ? 1 : 0;
    return Promise.resolve({ id: this.made });
  }

  events(_method: string, _path: string, { path }: { path: { context_id: number } }) {
    return this.cell(path.context_id);
  }

  get client(): PoolClient {
    return this as unknown as PoolClient;
  }
}

const VM_ONE = { id: 1, name: "box" } as VM;
const cell = (line: number) => ({ code: "x", language: "python", origin: { line, character: 0 } });
const never = new AbortController().signal;

test("cells of a document share a kernel, which knows where each of them stands", async () => {
  const pool = new FakePool();
  const kernels = new Kernels();
  const heard: CellOutput[] = [];
  const hear = (output: CellOutput) => heard.push(output);
  await kernels.run(pool.client, VM_ONE, "file:///a", cell(3), hear, never);
  const { cells } = await kernels.run(pool.client, VM_ONE, "file:///a", cell(9), hear, never);
  await kernels.run(pool.client, VM_ONE, "file:///b", cell(0), hear, never);
  expect(pool.asked).toEqual(["post contexts", "post contexts"]);
  expect([...cells]).toEqual([
    [1, { line: 3, character: 0 }],
    [2, { line: 9, character: 0 }],
  ]);
  expect(heard.map((output) => output.text)).toEqual(["hi", "hi", "hi"]);
  await kernels.close(pool.client, "file:///a");
  await kernels.close(pool.client, "file:///a");
  expect(pool.asked.slice(2)).toEqual(["delete {context_id} 1"]);
});

test("a kernel that has ended is replaced, and that is said", async () => {
  const pool = new FakePool();
  const kernels = new Kernels();
  await kernels.run(pool.client, VM_ONE, "u", cell(0), () => undefined, never);
  pool.cell = (context) => {
    if (context === 1) throw new PoolError(409, "context_dead", "it has ended");
    return pool.well();
  };
  const heard: string[] = [];
  await kernels.run(pool.client, VM_ONE, "u", cell(0), (output) => heard.push(output.text ?? ""), never);
  expect(heard.join("")).toContain("The kernel had ended");
  expect(heard.at(-1)).toBe("hi");
});

test("a kernel that cannot be made is tried again by the next cell", async () => {
  const pool = new FakePool();
  const kernels = new Kernels();
  const request = pool.request.bind(pool);
  pool.request = () => Promise.reject(new PoolError(429, "too_many_contexts", "full"));
  const run = () => kernels.run(pool.client, VM_ONE, "u", cell(0), () => undefined, never);
  await expect(run()).rejects.toThrow("full");
  pool.request = request;
  await expect(run()).resolves.toMatchObject({ result: { state: "ok" } });
});

test("cancelling interrupts the cell, not the kernel", async () => {
  const pool = new FakePool();
  const stopping = new AbortController();
  pool.cell = async function* () {
    stopping.abort();
    await Promise.resolve();
    yield { event: "end", data: JSON.stringify({ state: "interrupted", number: 1, execution_time: 0, outputs: [], truncated: false }) };
  };
  const { result } = await new Kernels().run(pool.client, VM_ONE, "u", cell(0), () => undefined, stopping.signal);
  expect(cellEnding(result)).toBe("interrupted");
  expect(pool.asked).toEqual(["post contexts", "post interrupt 1"]);
});

test("a server that ends before the cell is told of", async () => {
  const pool = new FakePool();
  pool.cell = async function* () {
    await Promise.resolve();
    yield { event: "output", data: JSON.stringify({ type: "stdout", text: "hi" }) };
  };
  await expect(new Kernels().run(pool.client, VM_ONE, "u", cell(0), () => undefined, never)).rejects.toThrow("ended before");
});
