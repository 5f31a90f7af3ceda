/** A server of a few routes, on loopback: what the API's client is tried against. */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { PoolClient } from "../src/api/client";

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

type Answer = (asked: Asked, response: ServerResponse) => void;

export class FakeServer {
  readonly asked: Asked[] = [];
  private readonly server: Server;

  private constructor(answer: Answer) {
    this.server = createServer((request, response) => {
      const pieces: Buffer[] = [];
      request.on("data", (piece: Buffer) => pieces.push(piece));
      request.on("end", () => {
        const { method = "", url = "", headers } = request;
        const asked = { method, url, headers, body: Buffer.concat(pieces).toString() };
        this.asked.push(asked);
        answer(asked, response);
      });
    });
  }

  static async start(answer: Answer): Promise<FakeServer> {
    const made = new FakeServer(answer);
    await new Promise<void>((resolve) => made.server.listen(0, "127.0.0.1", resolve));
    return made;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  client(): PoolClient {
    return new PoolClient({ url: this.url, key: "vmp_secret" });
  }

  stop(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

export function json(response: ServerResponse, value: unknown, status = 200, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(value));
}

export function problem(response: ServerResponse, status: number, code: string, detail: string): void {
  const body = { type: `urn:vmpool:error:${code}`, title: "", status, code, detail, retryable: false, context: {} };
  response.writeHead(status, { "content-type": "application/problem+json" });
  response.end(JSON.stringify({ ...body, dispatch: null, errors: null, request_id: "r1" }));
}
