import { afterEach, describe, expect, it } from "vitest";
import type { PoolEvent } from "../src/api/types";
import { FileLists } from "../src/views/fileLists";
import { FakeServer, json, problem } from "./server";

let server: FakeServer;
afterEach(() => server.stop());

const ran = (type: string, vm_id = 1) => ({ type, vm_id }) as PoolEvent;

describe("directories in the tree", () => {
  it("are looked at once, directories first, until something has run", async () => {
    const entries = [{ name: "b", kind: "file" }, { name: "a", kind: "file" }, { name: "z", kind: "directory" }];
    server = await FakeServer.start((_, response) => json(response, entries));
    const lists = new FileLists();
    const client = server.client();
    const look = async () => (await lists.of(client, 1, "/home/user")).map(({ name }) => name);
    expect(await look()).toEqual(["z", "a", "b"]);
    for (const type of ["execution.running", "snapshot.ready"]) lists.hear(ran(type));
    lists.hear(ran("execution.finished", 2));
    await look();
    expect(server.asked).toHaveLength(1);
    lists.hear(ran("execution.finished"));
    await look();
    expect(server.asked).toHaveLength(2);
  });

  it("are looked at again where a look failed", async () => {
    server = await FakeServer.start((_, response) => problem(response, 409, "vm_not_running", "it is stopped"));
    const lists = new FileLists();
    const client = server.client();
    await expect(lists.of(client, 1, "/")).rejects.toMatchObject({ code: "vm_not_running" });
    await expect(lists.of(client, 1, "/")).rejects.toMatchObject({ code: "vm_not_running" });
    expect(server.asked).toHaveLength(2);
  });
});
