import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TerminalSession, type Socket } from "../src/terminal/session";

class FakeSocket implements Socket {
  sent: unknown[] = [];
  closed = false;
  onopen: (() => void) | null = null;
  onmessage: ((text: string) => void) | null = null;
  onclose: ((code: number) => void) | null = null;
  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.closed = true;
  }
  tell(message: object): void {
    this.onmessage?.(JSON.stringify(message));
  }
}

function begin() {
  const sockets: FakeSocket[] = [];
  const dialled: [string, string][] = [];
  const heard: string[] = [];
  let time = 0;
  const session = new TerminalSession(
    (stdout, stderr) => {
      dialled.push([stdout, stderr]);
      const socket = new FakeSocket();
      sockets.push(socket);
      return Promise.resolve(socket);
    },
    { columns: 80, rows: 24 },
    {
      wrote: (text) => heard.push(text),
      ended: (code) => heard.push(`ended ${code}`),
      connected: (there) => heard.push(there ? "back" : "cut"),
      refused: (words) => heard.push(`refused ${words}`),
      lost: () => heard.push("lost"),
    },
    () => time,
  );
  const last = (): FakeSocket => sockets[sockets.length - 1] as FakeSocket;
  return { session, sockets, dialled, heard, last, later: (ms: number) => (time += ms) };
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());
const settled = () => vi.advanceTimersByTimeAsync(0);

test("says its size when it is there, and what is typed meanwhile comes after it", async () => {
  const { session, last } = begin();
  session.type("ls\r");
  await settled();
  last().onopen?.();
  session.resize({ columns: 100, rows: 30 });
  expect(last().sent).toEqual([
    { resize: { columns: 80, rows: 24 } },
    { stdin: "ls\r" },
    { resize: { columns: 100, rows: 30 } },
  ]);
});

test("a character that is split over two pieces is one", async () => {
  const { last, heard } = begin();
  await settled();
  last().onopen?.();
  last().tell({ event: "stdout", id: "1,0", base64: Buffer.from([0xc3]).toString("base64") });
  last().tell({ event: "stdout", id: "2,0", base64: Buffer.from([0xa4]).toString("base64") });
  last().tell({ event: "stdout", id: "3,0", text: "x" });
  expect(heard.join("")).toBe("äx");
});

test("after a cut it goes on at its position, and says so once", async () => {
  const { last, heard, dialled } = begin();
  await settled();
  last().onopen?.();
  last().tell({ event: "stdout", id: "7,2", text: "hello" });
  last().onclose?.(1012);
  await vi.advanceTimersByTimeAsync(200);
  last().onclose?.(1006);
  await vi.advanceTimersByTimeAsync(500);
  last().onopen?.();
  expect(dialled).toEqual([["0", "0"], ["7", "2"], ["7", "2"]]);
  expect(heard).toEqual(["hello", "cut", "back"]);
});

test("it is given up when the server has ended it or does not let it in", async () => {
  const { last, heard, later, sockets } = begin();
  await settled();
  last().onopen?.();
  last().onclose?.(1006);
  later(601_000);
  await vi.advanceTimersByTimeAsync(200);
  last().onclose?.(1006);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(heard).toEqual(["cut", "lost"]);
  expect(sockets).toHaveLength(2);

  const other = begin();
  await settled();
  other.last().onclose?.(1008);
  expect(other.heard).toEqual(["lost"]);
});

test("its end is told with the exit code, and nothing is sent after it", async () => {
  const { session, last, heard } = begin();
  await settled();
  last().onopen?.();
  last().tell({ event: "refused", problem: { detail: "no" } });
  last().tell({ event: "exit", execution: { exit_code: 3 } });
  last().onclose?.(1000);
  session.type("x");
  session.end();
  expect(heard).toEqual(["refused no", "ended 3"]);
  expect(last().sent).toHaveLength(1);
});

test("ended before it was there, it is cancelled once it is", async () => {
  const { session, last } = begin();
  session.end();
  await settled();
  last().onopen?.();
  expect(last().sent).toEqual([{ cancel: true }]);
  expect(last().closed).toBe(true);
});

test("a long paste goes in pieces that split no character", async () => {
  const { session, last } = begin();
  await settled();
  last().onopen?.();
  const text = `${"a".repeat(99_999)}😀b`;
  session.type(text);
  const pieces = (last().sent.slice(1) as { stdin: string }[]).map((one) => one.stdin);
  expect(pieces).toHaveLength(2);
  expect(pieces[1]).toBe("😀b");
  expect(pieces.join("")).toBe(text);
});
