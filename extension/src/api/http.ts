/** Requests over Node's own http: a chosen authority, streams both ways and an end at any time. */
import * as http from "node:http";
import * as https from "node:https";
import { PoolError, Unreachable, cancelled, isCancelled } from "./problem";
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
    if (signal?.aborted && isTimeout(signal.reason)) return new Unreachable(this.endpoint.url, signal.reason);
    if (signal?.aborted || isCancelled(error)) return cancelled();
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
        const url = new URL(this.endpoint.url + path);
        const request = (this.secure ? https : http).request(url, { method, headers, agent: this.agent }, resolve);
        request.on("error", failed);
        if (signal) endWith(signal, request);
        request.end(body);
      } catch (error) {
        failed(error); // an address that is none
      }
    });
  }
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof Error && reason.name === "TimeoutError";
}

/**
 * End a request once `signal` is aborted, as long as it goes on.
 *
 * Node's own option `signal` ends the connection of a request that is over, too, whoever uses it by then.
 */
function endWith(signal: AbortSignal, request: http.ClientRequest): void {
  let answer: http.IncomingMessage | null = null;
  const end = () => (answer ?? request).destroy(cancelled());
  const over = () => signal.removeEventListener("abort", end);
  signal.addEventListener("abort", end);
  request.on("response", (begun) => {
    answer = begun;
    begun.on("error", () => undefined); // whoever reads it is told
    begun.on("end", over);
    begun.on("close", over);
  });
  request.on("error", over);
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
  const problem = type.startsWith("application/problem+json") ? read(text) : undefined;
  if (typeof problem === "object" && problem !== null && "code" in problem) return PoolError.of(problem as Problem);
  return notAPool(status);
}

/** What answered is another program, or a proxy before the pool. */
export function notAPool(status: number): PoolError {
  return new PoolError(status, "unknown", `What answers at the server's address is not a pool (status ${status}).`);
}

/** JSON; undefined where it is none. */
export function read(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
