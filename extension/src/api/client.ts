/** The pool's API, typed by `spec/openapi.json`. */
import type { IncomingMessage } from "node:http";
import { Transport, certificateOptions, notAPool, read } from "./http";
import type { Endpoint } from "./http";
import { PoolError } from "./problem";
import type { Problem } from "./problem";
import { filled, queryOf } from "./routes";
import type { AnswerOf, BodyOf, Method, PathOf, PlacesOf, QueryOf } from "./routes";
import { EventParser } from "./sse";
import type { ServerEvent } from "./sse";
import type { Execution, VM } from "./types";

/** What a request carries beside its path. */
export interface Asking<M extends Method, P extends PathOf<M>> {
  readonly path?: PlacesOf<P>;
  readonly query?: QueryOf<M, P>;
  readonly body?: BodyOf<M, P>;
  readonly signal?: AbortSignal | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a request with bytes, or for bytes, carries. */
export interface RawAsking<M extends Method, P extends PathOf<M>> {
  readonly path?: PlacesOf<P>;
  readonly query?: QueryOf<M, P>;
  readonly bytes?: Uint8Array;
  readonly signal?: AbortSignal | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Keep a VM's path short: `at(vm)` as the `path` of a request. */
export function at(vm: Pick<VM, "id"> | number): { readonly vm_id: number } {
  return { vm_id: typeof vm === "number" ? vm : vm.id };
}

/** Milliseconds after which a stream is taken for dead: the server says something every 15 s. */
const SILENCE = 50_000;

export class PoolClient {
  private readonly transport: Transport;

  constructor(readonly endpoint: Endpoint) {
    this.transport = new Transport(endpoint);
  }

  /** The JSON of a route's answer.  Throws PoolError, Unreachable, or AbortError once `signal` is. */
  async request<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    asking: Asking<M, P> = {},
  ): Promise<AnswerOf<M, P>> {
    return (await this.json(await this.send(method, path, asking, { accept: "application/json" }))) as AnswerOf<M, P>;
  }

  /** Everything of a paged collection, newest first, `most` at the most. */
  async all<P extends PathOf<"get">>(
    path: P,
    asking: Asking<"get", P> = {},
    most = Number.POSITIVE_INFINITY,
  ): Promise<AnswerOf<"get", P>> {
    const found: unknown[] = [];
    let next: string | null = filled(path, asking.path ?? {}) + queryOf(asking.query ?? {});
    while (next !== null && found.length < most) {
      const answer: IncomingMessage = await this.transport.send("GET", next, { signal: asking.signal });
      found.push(...((await this.json(answer)) as unknown[]));
      next = nextPage(answer.headers.link);
    }
    return found.slice(0, most) as AnswerOf<"get", P>;
  }

  /** A request that sends bytes, is answered with bytes, or both; `answer.headers` has what stands beside them. */
  async raw<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    asking: RawAsking<M, P> = {},
  ): Promise<{ readonly bytes: Buffer; readonly headers: IncomingMessage["headers"]; readonly status: number }> {
    const answer = await this.send(method, path, asking, {});
    return { bytes: await this.transport.bytes(answer), headers: answer.headers, status: answer.statusCode ?? 0 };
  }

  /** A route's events as they come, until it ends.  An event `error` is thrown as PoolError. */
  async *events<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    asking: Asking<M, P> = {},
  ): AsyncGenerator<ServerEvent, void> {
    const answer = await this.send(method, path, asking, { accept: "text/event-stream" });
    const parser = new EventParser();
    answer.setEncoding("utf8");
    answer.setTimeout(SILENCE, () => answer.destroy(new Error("it has said nothing for too long")));
    try {
      for await (const piece of answer as AsyncIterable<string>) {
        for (const event of parser.push(piece)) {
          if (event.event === "error") throw PoolError.of(JSON.parse(event.data) as Problem);
          yield event;
        }
      }
    } catch (error) {
      throw this.transport.failure(error, asking.signal);
    } finally {
      answer.destroy();
    }
  }

  /** The address and headers of an execution's WebSocket: its output, and its standard input the other way. */
  socket(execution: Pick<Execution, "id" | "vm_id">, query: Readonly<Record<string, number>> = {}): SocketAddress {
    const path = `/api/vms/${execution.vm_id}/executions/${execution.id}/stream${queryOf(query)}`;
    return {
      url: this.endpoint.url.replace(/^http/, "ws") + path,
      headers: { authorization: `Bearer ${this.endpoint.key}` },
      ...certificateOptions(this.endpoint),
    };
  }

  dispose(): void {
    this.transport.dispose();
  }

  private async json(answer: IncomingMessage): Promise<unknown> {
    const text = await this.transport.text(answer);
    if (text === "") return undefined;
    const value = read(text);
    if (value === undefined) throw notAPool(answer.statusCode ?? 0);
    return value;
  }

  private async send<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    asking: Asking<M, P> & RawAsking<M, P>,
    headers: Readonly<Record<string, string>>,
  ): Promise<IncomingMessage> {
    const target = filled(path, asking.path ?? {}) + queryOf(asking.query ?? {});
    const json: unknown = asking.body;
    const isJSON = json !== undefined;
    const body = isJSON ? Buffer.from(JSON.stringify(json)) : asking.bytes;
    const type = isJSON ? "application/json" : "application/octet-stream";
    return await this.transport.send(method.toUpperCase(), target, {
      headers: { ...headers, ...(body ? { "content-type": type } : {}), ...asking.headers },
      body,
      signal: asking.signal,
    });
  }
}

/** `new WebSocket(address.url, address)` of the package ws takes it. */
export interface SocketAddress {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly ca?: string;
  readonly checkServerIdentity?: () => undefined;
}

/** The path of the next page in a Link header; null at the end. */
export function nextPage(link: string | string[] | undefined): string | null {
  const url = /<([^>]*)>;\s*rel="?next"?/.exec(String(link ?? ""))?.[1];
  if (url === undefined) return null;
  const parsed = new URL(url, "http://self");
  return parsed.pathname + parsed.search;
}
