import { afterEach, describe, expect, it } from "vitest";
import { follow } from "../src/api/events";
import type { PoolEvent } from "../src/api/types";
import { FakeServer, json, problem } from "./server";

let server: FakeServer;
const stopping = new AbortController();

afterEach(() => server.stop());

function event(id: number, type = "vm.running"): string {
  return `event: ${type}\nid: ${id}\ndata: ${JSON.stringify({ id, type, vm_id: 1, facts: {} })}\n\n`;
}

interface Told {
  readonly loads: number;
  readonly events: number[];
  readonly cuts: unknown[];
}

/** Follow until the event of this number has come. */
async function until(last: number): Promise<Told> {
  const over = new AbortController();
  const told = { loads: 0, events: [] as number[], cuts: [] as unknown[] };
  const client = server.client();
  await follow(
    client,
    {
      load: () => {
        told.loads += 1;
        return Promise.resolve();
      },
      happened: ({ id }: PoolEvent) => {
        told.events.push(id);
        if (id === last) over.abort();
      },
      connected: () => undefined,
      cut: (error) => told.cuts.push(error),
    },
    over.signal,
  );
  client.dispose();
  return told;
}

describe("following the pool", () => {
  it("asks for the newest number before everything else, and begins after it", async () => {
    server = await FakeServer.start(({ url }, response) => {
      if (!url.includes("follow")) json(response, [{ id: 41 }]);
      else response.end(event(42));
    });
    expect(await until(42)).toMatchObject({ loads: 1, events: [42] });
    expect(server.asked.at(-1)?.headers["last-event-id"]).toBe("41");
  });

  it("goes on where it was cut, without loading again", async () => {
    let streams = 0;
    server = await FakeServer.start(({ url }, response) => {
      if (!url.includes("follow")) json(response, []);
      else if ((streams += 1) === 1) {
        response.write(event(5));
        setTimeout(() => response.destroy(), 20);
      } else response.end(event(6));
    });
    const told = await until(6);
    expect(told).toMatchObject({ loads: 1, events: [5, 6] });
    expect(told.cuts).toHaveLength(1);
    expect(server.asked.at(-1)?.headers["last-event-id"]).toBe("5");
  });

  it("goes on after a stream that ended", async () => {
    let streams = 0;
    server = await FakeServer.start(({ url }, response) => {
      if (!url.includes("follow")) json(response, []);
      else response.end(event((streams += 1)));
    });
    expect(await until(2)).toMatchObject({ loads: 1, events: [1, 2] });
  });

  it("loads everything again where events are gone, or missing", async () => {
    let streams = 0;
    server = await FakeServer.start(({ url }, response) => {
      if (!url.includes("follow")) json(response, [{ id: 100 }]);
      else if ((streams += 1) === 1) problem(response, 410, "events_gone", "look again");
      else response.end(event(101, "events.missing") + event(102));
    });
    expect(await until(102)).toMatchObject({ loads: 3, events: [101, 102] });
  });

  it("ends where the key is not good any more", async () => {
    server = await FakeServer.start((_, response) => problem(response, 401, "unauthenticated", "no"));
    await expect(until(1)).rejects.toMatchObject({ status: 401 });
  });

  it("does not begin once it is over", async () => {
    server = await FakeServer.start(() => undefined);
    stopping.abort();
    const unused = () => {
      throw new Error("told after the end");
    };
    await follow(server.client(), { load: unused, happened: unused, connected: unused, cut: unused }, stopping.signal);
    expect(server.asked).toEqual([]);
  });
});
