/** A WebSocket of the package ws, as a terminal session takes it. */
import WebSocket from "ws";
import type { SocketAddress } from "../api/client";
import type { Socket } from "./session";

/** Milliseconds between two signs of life: a connection that is gone is noticed within two of them. */
const PING = 15_000;
const HANDSHAKE = 10_000;
const ABNORMAL = 1006;
const NOT_ALLOWED = 1008;

export function socketTo(address: SocketAddress): Socket {
  const { url, ...options } = address;
  const socket = new WebSocket(url, { ...options, handshakeTimeout: HANDSHAKE, perMessageDeflate: false });
  const opened: Socket = {
    send: (text) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(text);
    },
    close: () => socket.close(),
    onopen: null,
    onmessage: null,
    onclose: null,
  };
  let alive = true;
  let denied = false;
  const pinging = setInterval(() => {
    if (!alive) socket.terminate();
    else if (socket.readyState === WebSocket.OPEN) {
      alive = false;
      socket.ping();
    }
  }, PING);
  socket.on("pong", () => (alive = true));
  socket.on("open", () => opened.onopen?.());
  socket.on("message", (data: Buffer) => {
    alive = true;
    opened.onmessage?.(data.toString("utf8"));
  });
  socket.on("unexpected-response", (_request, answer) => {
    denied = (answer.statusCode ?? 0) < 500 && answer.statusCode !== 429; // the execution or the key is gone
    answer.resume();
    socket.terminate();
  });
  socket.on("error", () => undefined); // `close` follows, which is what is acted upon
  socket.on("close", (code) => {
    clearInterval(pinging);
    opened.onclose?.(denied ? NOT_ALLOWED : code || ABNORMAL);
  });
  return opened;
}
