import { afterEach, describe, expect, it } from "vitest";
import type { ServerResponse } from "node:http";
import type { PoolClient } from "../src/api/client";
import type { VM } from "../src/api/types";
import { Pool } from "../src/pool/pool";
import type { Change } from "../src/pool/pool";
import { merged } from "../src/pool/refresher";
import { FakeServer, json, problem } from "./server";

const VM_OF_TEST = { id: 1, name: "one", status: "running" } as VM;

/** A pool as the server has it, whose events are sent by hand. */
class FakePool {
  vms = [VM_OF_TEST];
  figures = 0;
  looks = 0;
  stream: ServerResponse | null = null;
  private number = 10;

  static async start(): Promise<{ fake: FakePool; server: FakeServer }> {
    const fake = new FakePool();
    const server = await FakeServer.start(({ url }, response) => fake.answer(new URL(url, "http://x"), response));
    return { fake, server };
  }

  send(type: string, vmId = 1): void {
    this.number += 1;
    const data = JSON.stringify({ id: this.number, type, vm_id: vmId, facts: {} });
    this.stream?.write(`id: ${this.number}\ndata: ${data}\n\n`);
  }

  private answer(url: URL, response: ServerResponse): void {
    const one = /^\/api\/vms\/(\d+)(\/\w+)?$/.exec(url.pathname);
    if (url.pathname === "/api/events" && url.searchParams.has("follow")) {
      response.write(": hello\n\n");
      this.stream = response;
    } else if (url.pathname === "/api/events") json(response, [{ id: this.number }]);
    else if (url.pathname === "/api/vms/pool-status") json(response, { limits: { max_vms_per_user: 10 } });
    else if (url.pathname === "/api/vms") json(response, this.vms);
    else if (one?.[2] === "/status") {
      this.figures += 1;
      json(response, { id: Number(one[1]), cpu_percent: this.figures });
    } else if (one?.[2] === "/executions") {
      this.looks += 1;
      json(response, [{ id: this.looks }]);
    } else {
      const vm = this.vms.find(({ id }) => id === Number(one?.[1]));
      if (vm) json(response, vm);
      else problem(response, 404, "vm_not_found", "no such VM");
    }
  }
}

let server: FakeServer;
let client: PoolClient;
let pool: Pool;
let fake: FakePool;

async function begin(): Promise<void> {
  ({ fake, server } = await FakePool.start());
  client = server.client();
  pool = new Pool(() => 5);
  pool.start(client, (error) => {
    throw error instanceof Error ? error : new Error("lost");
  });
  await pool.loaded();
  await until(() => fake.stream !== null);
}

afterEach(async () => {
  pool.dispose();
  client.dispose();
  await server.stop();
});

function until(holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (holds()) resolve();
      else setTimeout(look, 2);
    };
    look();
  });
}

describe("the pool", () => {
  it("is loaded once, and changes as the events say, without asking again", async () => {
    await begin();
    expect(pool.vms).toEqual([VM_OF_TEST]);
    const changes: Change[] = [];
    pool.onDidChange((change) => changes.push(change));
    fake.vms = [{ ...VM_OF_TEST, status: "stopped" }];
    fake.send("vm.stopped");
    await until(() => pool.vm(1)?.status === "stopped");
    expect(changes).toEqual([new Set([1])]);
    expect(server.asked.filter(({ url }) => url.startsWith("/api/vms?")).length).toBe(1);
  });

  it("knows VMs that come and go, and asks for the list where many change", async () => {
    await begin();
    fake.vms = Array.from({ length: 8 }, (_, place) => ({ ...VM_OF_TEST, id: 9 - place }));
    for (let id = 2; id <= 9; id += 1) fake.send("vm.running", id);
    await until(() => pool.vms?.length === 8);
    expect(pool.vms?.map(({ id }) => id)).toEqual([9, 8, 7, 6, 5, 4, 3, 2]);
    fake.vms = [];
    fake.send("vm.deleted", 2);
    await until(() => pool.vm(2) === undefined);
  });

  it("loads executions when they are wanted, and again when one has begun or ended", async () => {
    await begin();
    expect(fake.looks).toBe(0);
    expect(await pool.executions(1)).toEqual([{ id: 1 }]);
    expect(await pool.executions(1)).toEqual([{ id: 1 }]);
    const heard: string[] = [];
    pool.onDidHear(({ type }) => heard.push(type));
    fake.send("execution.finished");
    await until(() => heard.length > 0);
    expect(await pool.executions(1)).toEqual([{ id: 2 }]);
    expect(server.asked.filter(({ url }) => url === "/api/vms/1").length).toBe(0);
  });

  it("reads figures only while somebody looks, and forgets those of VMs that do not run", async () => {
    await begin();
    expect(fake.figures).toBe(0);
    const looking = pool.figures.watch();
    await until(() => fake.figures > 2);
    expect(pool.figures.of(1)?.cpu_percent).toBeGreaterThan(0);
    looking.dispose();
    looking.dispose();
    await until(() => pool.figures.of(1) !== undefined);
    const seen = fake.figures;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(fake.figures).toBeLessThanOrEqual(seen + 1); // the one that was on its way
    fake.vms = [{ ...VM_OF_TEST, status: "stopped" }];
    fake.send("vm.stopped");
    await until(() => pool.figures.of(1) === undefined);
  });

  it("says that it is away, and that it is back", async () => {
    await begin();
    fake.stream?.destroy();
    await until(() => pool.trouble !== null);
    expect(pool.vms).toEqual([VM_OF_TEST]);
    fake.stream = null;
    await until(() => pool.trouble === null);
  });

  it("knows nothing once it is stopped", async () => {
    await begin();
    pool.stop();
    expect(pool.vms).toBeNull();
    await expect(pool.loaded()).rejects.toThrow(/ended/);
  });
});

it("puts looks into the list, newest first", async () => {
  await begin();
  const two = { ...VM_OF_TEST, id: 2 };
  expect(merged([VM_OF_TEST], new Set([2]), [two])).toEqual([two, VM_OF_TEST]);
  expect(merged([two, VM_OF_TEST], new Set([2]), [null])).toEqual([VM_OF_TEST]);
});
