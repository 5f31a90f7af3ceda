/** A port of a VM on this machine: a listener on loopback, and a tunnel for each connection it accepts. */
import * as http from "node:http";
import * as https from "node:https";
import * as net from "node:net";
import { certificateOptions, type Endpoint } from "../api/http";
import { PoolError, type Problem, words } from "../api/problem";
import { END, PROTOCOL, Pieces, piece } from "./pieces";

const LOOPBACK = "127.0.0.1";
const CONNECT = 10_000;

export interface Forward {
  readonly localPort: number;
  close(): void;
}

/**
 * Listen until it is closed.
 *
 * endpoint: asked at each connection.  local: the port to listen at; 0: any.  trouble: hears why a connection
 * could not be carried.  Throws where nothing can listen.
 */
export function forward(
  endpoint: () => Promise<Endpoint>,
  vmId: number,
  remote: number,
  local: number,
  trouble: (said: string) => void,
): Promise<Forward> {
  const open = new Set<net.Socket>();
  // One end may go on after the other: each direction ends by itself.
  const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (near) => {
    open.add(near);
    near.on("close", () => open.delete(near));
    near.on("error", () => near.destroy());
    endpoint().then(
      (where) => carry(where, `/api/vms/${vmId}/tunnels/${remote}`, near, trouble),
      (error: unknown) => {
        trouble(words(error));
        near.destroy();
      },
    );
  });
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const why = error.code === "EADDRINUSE" ? "something else listens there" : error.message;
      reject(new Error(`Port ${local} of this machine cannot be used: ${why}.`));
    });
    server.listen(local, LOOPBACK, () => {
      resolve({
        localPort: (server.address() as net.AddressInfo).port,
        close: () => {
          server.close();
          for (const near of open) near.destroy();
        },
      });
    });
  });
}

function carry(endpoint: Endpoint, path: string, near: net.Socket, trouble: (said: string) => void): void {
  const secure = endpoint.url.startsWith("https:");
  const request = (secure ? https : http).request(new URL(endpoint.url + path), {
    agent: false,
    timeout: CONNECT,
    headers: { authorization: `Bearer ${endpoint.key}`, connection: "Upgrade", upgrade: PROTOCOL },
    ...(secure ? certificateOptions(endpoint) : {}),
  });
  const failed = (said: string) => {
    trouble(said);
    near.destroy();
  };
  near.on("close", () => request.destroy());
  request.on("timeout", () => request.destroy(new Error("the server did not answer in time")));
  request.on("error", (error) => {
    if (!near.destroyed) failed(error.message);
  });
  request.on("response", (answer) => {
    refusal(answer).then(failed, (error: unknown) => failed(words(error)));
  });
  request.on("upgrade", (_answer, far, head) => {
    far.setTimeout(0);
    through(near, far, head);
  });
  request.end();
}

/** Both ways, until each has ended. */
function through(near: net.Socket, far: net.Socket, head: Buffer): void {
  const pieces = new Pieces();
  const cut = () => {
    near.destroy();
    far.destroy();
  };
  far.setNoDelay(true);
  far.on("error", cut);
  far.on("close", () => {
    if (!pieces.ended) near.destroy(); // without the end before it
  });
  near.on("close", () => far.destroy());
  const down = (data: Buffer) => {
    for (const part of pieces.feed(data)) {
      if (!near.write(part)) far.pause();
    }
    if (pieces.ended) near.end();
  };
  near.on("drain", () => far.resume());
  far.on("drain", () => near.resume());
  near.on("data", (data) => {
    if (!far.write(piece(data))) near.pause();
  });
  near.on("end", () => {
    if (!far.destroyed) far.write(END);
  });
  far.on("data", down);
  if (head.length > 0) down(head);
  near.resume();
}

async function refusal(answer: http.IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of answer as AsyncIterable<Buffer>) parts.push(part);
  const text = Buffer.concat(parts).toString("utf8");
  if (!answer.headers["content-type"]?.startsWith("application/problem+json")) return `the server answered ${answer.statusCode ?? 0}`;
  return PoolError.of(JSON.parse(text) as Problem).message;
}
