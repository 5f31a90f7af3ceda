import { describe, expect, it } from "vitest";
import { nextPage } from "../src/api/client";
import { EventParser, eventsOf } from "../src/api/sse";
import type { VM } from "../src/api/types";
import { ago, duration, megabytes, tone } from "../src/model/format";
import { LANGUAGES, firstProgram, freeName } from "../src/model/languages";
import { type Piece, SHOWN, added } from "../src/model/output";
import { merged } from "../src/model/pool";
import { rulesOf } from "../src/model/rules";

const STREAM =
  ": still here\n\nid: 7\nevent: vm.running\ndata: {\"a\":1}\n\ndata: one\ndata:two\n\nid: 9\n\ndata: last\n\n";
const EVENTS = [
  { event: "vm.running", id: "7", data: '{"a":1}' },
  { event: "message", id: "", data: "one\ntwo" },
  { event: "message", id: "", data: "last" },
];

describe("events", () => {
  it("are the same wherever the stream is cut", () => {
    for (let cut = 0; cut <= STREAM.length; cut += 1) {
      const parser = new EventParser();
      expect([...parser.push(STREAM.slice(0, cut)), ...parser.push(STREAM.slice(cut))]).toEqual(EVENTS);
    }
  });

  it("are read from bytes that are cut within a character", async () => {
    const bytes = new TextEncoder().encode("data: größe €\n\n");
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    const found = [];
    for await (const event of eventsOf(body)) found.push(event.data);
    expect(found).toEqual(["größe €"]);
  });

  it("that are not complete are not told", () => {
    expect(new EventParser().push("data: half\n")).toEqual([]);
  });
});

describe("pages", () => {
  it("follow the Link header, on this server only", () => {
    expect(nextPage(null)).toBeNull();
    expect(nextPage('<http://elsewhere/api/vms?cursor=5>; rel="next"')).toBe("/api/vms?cursor=5");
    expect(nextPage('</api/vms?limit=2&cursor=5>; rel="next"')).toBe("/api/vms?limit=2&cursor=5");
    expect(nextPage('</x>; rel="prev"')).toBeNull();
  });
});

describe("output", () => {
  it("joins pieces of one stream and keeps the order of both", () => {
    let pieces: Piece[] = [];
    pieces = added(pieces, "stdout", { offset: 0, text: "a" });
    pieces = added(pieces, "stdout", { offset: 1, text: "b" });
    pieces = added(pieces, "stderr", { offset: 0, text: "c" });
    pieces = added(pieces, "stdout", { offset: 2, base64: "/2Q=" });
    expect(pieces.map((piece) => `${piece.stream} ${piece.text}`)).toEqual(["stdout ab", "stderr c", "stdout \ufffdd"]);
  });

  it("is bounded: the last is kept", () => {
    let pieces: Piece[] = [{ stream: "stderr", text: "first" }];
    pieces = added(pieces, "stdout", { offset: 0, text: "x".repeat(SHOWN) + "end" });
    expect(pieces).toHaveLength(1);
    expect(pieces[0]?.text.length).toBe(SHOWN);
    expect(pieces[0]?.text.endsWith("xend")).toBe(true);
  });
});

describe("the list", () => {
  const vm = (id: number, status: VM["status"]) => ({ id, status }) as VM;

  it("takes in what changed, newest first, and forgets what is gone", () => {
    const before = [vm(3, "running"), vm(2, "running"), vm(1, "running")];
    const after = merged(before, [4, 2, 1], [vm(4, "creating"), vm(2, "stopped"), null]);
    expect(after.map((each) => `${each.id} ${each.status}`)).toEqual(["4 creating", "3 running", "2 stopped"]);
  });
});

describe("words", () => {
  it("say sizes, times and states as people do", () => {
    expect([megabytes(512), megabytes(1024), megabytes(1536)]).toEqual(["512 MB", "1 GB", "1.5 GB"]);
    expect([duration(0.0042), duration(1), duration(75.25)]).toEqual(["4 ms", "1.0 s", "75.3 s"]);
    const now = Date.parse("2026-01-02T00:00:00Z");
    expect(ago("2026-01-02T00:00:05Z", now)).toBe("just now"); // a server whose clock is ahead
    expect(ago("2026-01-01T23:59:20Z", now)).toBe("40 s ago");
    expect(ago("2026-01-01T22:00:00Z", now)).toBe("2 h ago");
    expect([tone("running"), tone("stopping"), tone("error"), tone("paused")]).toEqual([
      "good",
      "busy",
      "bad",
      "quiet",
    ]);
  });

  it("offer a free name and a program for each language", () => {
    expect(freeName("go", ["go-1", "go-2", "bash-3"])).toBe("go-3");
    for (const language of Object.keys(LANGUAGES)) expect(firstProgram(language)).toContain("Hello from");
    expect(firstProgram("cobol")).toBe("");
    expect(firstProgram("toString")).toBe("");
  });
});

describe("rules of a network", () => {
  it("are one a line, each once", () => {
    expect(rulesOf(" a.example\n\n*.b.example:443, a.example  10.0.0.0/8\n")).toEqual([
      "a.example",
      "*.b.example:443",
      "10.0.0.0/8",
    ]);
    expect(rulesOf(" \n")).toEqual([]);
  });
});
