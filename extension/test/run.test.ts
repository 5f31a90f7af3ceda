import { afterEach, describe, expect, it } from "vitest";
import type { VM } from "../src/api/types";
import { ending, succeeded, textOf } from "../src/run/run";
import type { Run } from "../src/run/run";
import { Runs } from "../src/run/runs";
import { FakeServer, problem } from "./server";

const A = { id: 1, name: "a" } as VM;
const B = { id: 2, name: "b" } as VM;
let server: FakeServer;
afterEach(() => server.stop());

function endOf(run: Run, place: number): string {
  const part = run.parts[place];
  return part ? ending(part) : "no such part";
}

describe("a run", () => {
  it("tells who listens of its output as it comes, and of its end in each VM", async () => {
    server = await FakeServer.start(({ url }, response) => {
      if (url.startsWith("/api/vms/2")) {
        problem(response, 409, "vm_not_running", "VM 2 is stopped");
        return;
      }
      response.write('event: start\ndata: {"id":5,"state":"running"}\n\n');
      response.write('event: stdout\ndata: {"offset":0,"text":"hi\\n"}\n\n');
      response.end('event: exit\ndata: {"id":5,"state":"finished","exit_code":0,"failure":null}\n\n');
    });
    const runs = new Runs();
    const told: string[] = [];
    runs.onDidBegin((run) => {
      run.onOutput(({ part, piece }) => told.push(`${part.vm.name} ${piece.stream} ${piece.text}`));
      run.onPartEnd((part) => told.push(`${part.vm.name}: ${ending(part)}`));
    });
    const run = await runs.go(server.client(), { title: "t", vms: [A, B], body: { code: "x" } });
    expect(told.sort()).toEqual(["a stdout hi\n", "a: exit 0", "b: VM 2 is stopped"]);
    expect(run.parts.map(succeeded)).toEqual([true, false]);
    expect(JSON.parse(server.asked[0]?.body ?? "")).toEqual({ code: "x", cancel_on_disconnect: true });
  });

  it("is cancelled by leaving", async () => {
    server = await FakeServer.start((_, response) => response.write(": wait\n\n"));
    const stopping = new AbortController();
    const going = new Runs().go(server.client(), { title: "t", vms: [A], body: { code: "x" } }, stopping.signal);
    setTimeout(() => stopping.abort(), 20);
    expect(endOf(await going, 0)).toBe("cancelled");
  });

  it("has no result where the stream was cut before the program's end", async () => {
    server = await FakeServer.start((_, response) => response.end('event: start\ndata: {"id":5,"state":"running"}\n\n'));
    const run = await new Runs().go(server.client(), { title: "t", vms: [A], body: { code: "x" } });
    expect(endOf(run, 0)).toMatch(/among the VM's executions/);
  });
});

it("says what was left out, and reads bytes that are no text", async () => {
  server = await FakeServer.start(() => undefined);
  expect(textOf({ offset: 9, text: "x", skipped: 3 })).toBe("[3 bytes were not kept]\nx");
  expect(textOf({ offset: 0, base64: Buffer.from("é").toString("base64") })).toBe("é");
});
