/** Requests over Node's own http: a chosen authority, streams both ways and an end at any time. */
import * as http from "node:http";
import * as https from "node:https";
import { PoolError, Unreachable, cancelled } from "./problem";
import type { Problem } from "./problem";

/** Where a server is, and what it is sent. */
export interface Endpoint {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: string;
  /** PEM: the only certificates an https server may be certified by. */
  readonly authority?: string | undefined;
  /** This machine's own server, known by its certificate whatever name that bears. */
  readonly anyName?: boolean;
}

export interface Sending {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Of an answer that is kept whole: far above what any route sends as JSON. */
const LARGEST_ANSWER = 256 * 2 ** 20;

export class Transport {
  private readonly secure: boolean;
  private readonly agent: http.Agent;

  constructor(readonly endpoint: Endpoint) {
    this.secure = endpoint.url.startsWith("https:");
    this.agent = this.secure
      ? new https.Agent({ keepAlive: true, ...certificateOptions(endpoint) })
      : new http.Agent({ keepAlive: true });
  }

  /** The answer to a request, once its head is there.  Throws PoolError, Unreachable, or AbortError. */
  async send(method: string, path: string, sending: Sending = {}): Promise<http.IncomingMessage> {
    const answer = await this.begin(method, path, sending);
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) return answer;
    throw refusal(status, answer.headers["content-type"] ?? "", await this.text(answer));
  }

  /** All bytes of an answer. */
  async bytes(answer: http.IncomingMessage): Promise<Buffer> {
    const pieces: Buffer[] = [];
    let size = 0;
    try {
      for await (const piece of answer as AsyncIterable<Buffer>) {
        size += piece.length;
        if (size > LARGEST_ANSWER) throw new PoolError(0, "unknown", "The answer is too large to be shown.");
        pieces.push(piece);
      }
    } catch (error) {
      throw this.failure(error, undefined);
    }
    return Buffer.concat(pieces);
  }

  async text(answer: http.IncomingMessage): Promise<string> {
    return (await this.bytes(answer)).toString("utf8");
  }

  /** What a broken connection is called. */
  failure(error: unknown, signal: AbortSignal | undefined): Error {
    if (signal?.aborted || (error instanceof Error && error.name === "AbortError")) return cancelled();
    return error instanceof PoolError ? error : new Unreachable(this.endpoint.url, error);
  }

  dispose(): void {
    this.agent.destroy();
  }

  private begin(method: string, path: string, sending: Sending): Promise<http.IncomingMessage> {
    const { body, signal } = sending;
    const headers: Record<string, string | number> = {
      authorization: `Bearer ${this.endpoint.key}`,
      ...sending.headers,
    };
    if (body) headers["content-length"] = body.length;
    else if (method !== "GET") headers["content-length"] = 0;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(cancelled());
        return;
      }
      const failed = (error: unknown) => reject(this.failure(error, signal));
      try {
        const request = (this.secure ? https : http).request(
          new URL(this.endpoint.url + path),
          { method, headers, agent: this.agent, ...(signal ? { signal } : {}) },
          resolve,
        );
        request.on("error", failed);
        request.end(body);
      } catch (error) {
        failed(error); // an address that is none
      }
    });
  }
}

/** What TLS is to check the server by; for WebSockets too. */
export function certificateOptions(endpoint: Endpoint): {
  readonly ca?: string;
  readonly checkServerIdentity?: () => undefined;
} {
  return {
    ...(endpoint.authority === undefined ? {} : { ca: endpoint.authority }),
    ...(endpoint.anyName === true ? { checkServerIdentity: () => undefined } : {}),
  };
}

function refusal(status: number, type: string, text: string): PoolError {
  if (type.startsWith("application/problem+json")) return PoolError.of(JSON.parse(text) as Problem);
  return new PoolError(status, "unknown", `What answers at the server's address is not a pool (status ${status}).`);
}
