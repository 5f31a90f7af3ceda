import { afterEach, describe, expect, it } from "vitest";
import { nextPage } from "../src/api/client";
import type { PoolClient } from "../src/api/client";
import { PoolError, Unreachable, isCancelled } from "../src/api/problem";
import { FakeServer, json, problem } from "./server";

let server: FakeServer;
let client: PoolClient;

async function serve(...given: Parameters<typeof FakeServer.start>): Promise<void> {
  server = await FakeServer.start(...given);
  client = server.client();
}

afterEach(async () => {
  client.dispose();
  await server.stop();
});

describe("the client", () => {
  it("fills in the path, the query and the key, and sends JSON", async () => {
    await serve((_, response) => json(response, { id: 1 }));
    await client.request("put", "/api/secrets/{secret_name}", {
      path: { secret_name: "a/b c" },
      query: { vm: "x&y" },
      body: { value: "é" },
    });
    const [asked] = server.asked;
    expect(asked?.url).toBe("/api/secrets/a%2Fb%20c?vm=x%26y");
    expect(asked?.headers.authorization).toBe("Bearer vmp_secret");
    expect(JSON.parse(asked?.body ?? "")).toEqual({ value: "é" });
  });

  it("answers undefined where there is nothing", async () => {
    await serve((_, response) => void response.writeHead(204).end());
    await expect(client.request("delete", "/api/vms/{vm_id}", { path: { vm_id: 1 } })).resolves.toBeUndefined();
  });

  it("reads all pages of a collection, up to the most that is wanted", async () => {
    await serve(({ url }, response) => {
      const cursor = Number(new URL(url, "http://x").searchParams.get("cursor") ?? 9);
      const link = cursor > 3 ? { link: `<http://elsewhere/api/vms?cursor=${cursor - 3}>; rel="next"` } : {};
      json(response, [{ id: cursor }, { id: cursor - 1 }], 200, link);
    });
    expect((await client.all("/api/vms")).map(({ id }) => id)).toEqual([9, 8, 6, 5, 3, 2]);
    expect(await client.all("/api/vms", {}, 3)).toHaveLength(3);
  });

  it("throws what the server says, with what to do next", async () => {
    await serve((_, response) => problem(response, 429, "quota_exceeded", "you have 10 VMs, which is the limit"));
    const error: unknown = await client.request("get", "/api/vms").catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(PoolError);
    expect(error).toMatchObject({ code: "quota_exceeded", message: "you have 10 VMs, which is the limit", requestId: "r1" });
    expect((error as PoolError).remedies).toContain("deleteVM");
  });

  it("says that something else answers", async () => {
    await serve((_, response) => response.writeHead(502, { "content-type": "text/html" }).end("<h1>proxy</h1>"));
    await expect(client.request("get", "/api/vms")).rejects.toMatchObject({ code: "unknown", status: 502 });
  });

  it("says that a problem which is not one is none", async () => {
    await serve((_, response) => response.writeHead(500, { "content-type": "application/problem+json" }).end("oh"));
    await expect(client.request("get", "/api/vms")).rejects.toMatchObject({ code: "unknown", status: 500 });
    await server.stop();
    await serve((_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<html>"));
    await expect(client.request("get", "/api/vms")).rejects.toMatchObject({ code: "unknown" });
  });

  it("says that nobody answers", async () => {
    await serve(() => undefined);
    await server.stop();
    await expect(client.request("get", "/api/vms")).rejects.toThrow(/nothing listens there/);
    await expect(client.request("get", "/api/vms")).rejects.toBeInstanceOf(Unreachable);
  });

  it("ends a request that is given up, before and while it is answered", async () => {
    await serve(() => undefined);
    const stopping = new AbortController();
    const asked = client.request("get", "/api/vms", { signal: stopping.signal }).catch((caught: unknown) => caught);
    stopping.abort();
    expect(isCancelled(await asked)).toBe(true);
    const again: unknown = await client.request("get", "/api/vms", { signal: stopping.signal }).catch((e: unknown) => e);
    expect(isCancelled(again)).toBe(true);
  });

  it("leaves a connection alone that is another request's by then", async () => {
    await serve((_, response) => json(response, []));
    const stopping = new AbortController();
    await client.request("get", "/api/vms", { signal: stopping.signal });
    const next = client.request("get", "/api/vms");
    stopping.abort();
    expect(await next).toEqual([]);
  });

  it("says that nobody answers where its time is over", async () => {
    await serve(() => undefined);
    await expect(client.request("get", "/api/vms", { signal: AbortSignal.timeout(20) })).rejects.toBeInstanceOf(Unreachable);
  });

  it("reads events as they come, letters in pieces too, and throws the event that is an error", async () => {
    await serve((_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(": hello\n\nevent: stdout\nid: 1,0\n");
      response.write(Buffer.from("data: é\n\n").subarray(0, 7));
      response.write(Buffer.from("data: é\n\n").subarray(7));
      response.end('event: error\ndata: {"status":404,"code":"vm_not_found","detail":"no","context":{}}\n\n');
    });
    const found: string[] = [];
    const reading = async () => {
      for await (const { event, id, data } of client.events("get", "/api/events")) found.push(`${event} ${id} ${data}`);
    };
    await expect(reading()).rejects.toMatchObject({ code: "vm_not_found" });
    expect(found).toEqual(["stdout 1,0 é"]);
  });

  it("knows where a WebSocket is, and what it needs", async () => {
    await serve(() => undefined);
    const address = client.socket({ id: 7, vm_id: 2 }, { stdout_offset: 3 });
    expect(address.url).toBe(`${server.url.replace("http", "ws")}/api/vms/2/executions/7/stream?stdout_offset=3`);
    expect(address.headers).toEqual({ authorization: "Bearer vmp_secret" });
  });
});

it("follows no link to another server", async () => {
  await serve(() => undefined);
  expect(nextPage('<https://elsewhere.example/api/vms?cursor=4>; rel="next"')).toBe("/api/vms?cursor=4");
  expect(nextPage('</a>; rel="prev"')).toBeNull();
  expect(nextPage(undefined)).toBeNull();
});
