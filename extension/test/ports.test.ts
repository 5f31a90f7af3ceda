import * as http from "node:http";
import * as net from "node:net";
import { once } from "node:events";
import { afterEach, expect, test } from "vitest";
import { forward, type Forward } from "../src/ports/forward";
import { END, Pieces, piece } from "../src/ports/pieces";

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

test("pieces come out as they were, however they are cut", () => {
  const sent = Buffer.concat([piece(Buffer.from("hello")), piece(Buffer.from("x".repeat(300))), END, Buffer.from("rest")]);
  for (const size of [1, 3, 7, 1_000]) {
    const pieces = new Pieces();
    const found: Buffer[] = [];
    for (let at = 0; at < sent.length; at += size) found.push(...pieces.feed(sent.subarray(at, at + size)));
    expect(Buffer.concat(found).toString()).toBe(`hello${"x".repeat(300)}`);
    expect(pieces.ended).toBe(true);
  }
});

/** A pool whose tunnels lead to a server that answers, in capitals, once it has heard all. */
async function pool(): Promise<string> {
  const server = http.createServer((_request, answer) => {
    answer.writeHead(502, { "content-type": "application/problem+json" });
    answer.end(JSON.stringify({ status: 502, code: "nothing_listens", detail: "nothing listens at port 9", request_id: "1" }));
  });
  server.on("upgrade", (request, socket: net.Socket) => {
    if (request.url?.endsWith("/9")) {
      const body = JSON.stringify({ status: 502, code: "nothing_listens", detail: "nothing listens at port 9", request_id: "1", retryable: true, context: {} });
      socket.end(`HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/problem+json\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      return;
    }
    socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: vmpool-tunnel\r\n\r\n");
    const pieces = new Pieces();
    const heard: Buffer[] = [];
    socket.on("error", () => undefined);
    socket.on("data", (data) => {
      heard.push(...pieces.feed(data));
      if (!pieces.ended) return;
      const text = Buffer.concat(heard).toString().toUpperCase();
      for (let at = 0; at < text.length; at += 60_000) socket.write(piece(Buffer.from(text.slice(at, at + 60_000))));
      socket.end(END);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

async function forwarded(port: number, trouble: (said: string) => void = () => undefined): Promise<Forward> {
  const url = await pool();
  const made = await forward(() => Promise.resolve({ url, key: "k" }), 1, port, 0, trouble);
  closing.push(() => made.close());
  return made;
}

async function said(port: number, text: string): Promise<string> {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.end(text);
  const parts: Buffer[] = [];
  for await (const part of socket as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString();
}

test("each direction ends by itself, and much goes through", async () => {
  const { localPort } = await forwarded(8080);
  const text = "abc".repeat(500_000);
  const [long, short] = await Promise.all([said(localPort, text), said(localPort, "hi")]);
  expect(short).toBe("HI");
  expect(long).toBe(text.toUpperCase());
});

test("where nothing listens the connection is closed, and why is told", async () => {
  const heard: string[] = [];
  const { localPort } = await forwarded(9, (words) => heard.push(words));
  await expect(said(localPort, "x").catch(() => "")).resolves.toBe("");
  expect(heard).toEqual(["nothing listens at port 9"]);
});

test("a port that is taken is said", async () => {
  const { localPort } = await forwarded(8080);
  const taken = forward(() => Promise.reject(new Error("no")), 1, 80, localPort, () => undefined);
  await expect(taken).rejects.toThrow("something else listens there");
});
