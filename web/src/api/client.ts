/** Requests to the server this page came from, made with the session's cookie. */
import { eventsOf, type ServerEvent } from "./sse";
import type { Problem } from "./types";

/** What the server refused, in its own words. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** To be named when asking the operator. */
    readonly requestId: string,
  ) {
    super(message);
    this.name = "Refused";
  }
}

/** The server did not answer. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super("The server does not answer. This page goes on by itself once it is back.", { cause });
    this.name = "Unreachable";
  }
}

export interface Asking {
  /** Sent as JSON; a Blob as it is. */
  readonly body?: object;
  readonly key?: string;
  readonly signal?: AbortSignal;
  readonly accept?: string;
}

async function send(method: string, path: string, asking: Asking): Promise<Response> {
  const headers: Record<string, string> = { "X-VMPool-Session": "1" };
  const { body } = asking;
  if (body) headers["Content-Type"] = body instanceof Blob ? "application/octet-stream" : "application/json";
  if (asking.key !== undefined) headers["Authorization"] = `Bearer ${asking.key}`;
  if (asking.accept !== undefined) headers["Accept"] = asking.accept;
  const init: RequestInit = { method, headers, credentials: "same-origin" };
  if (body) init.body = body instanceof Blob ? body : JSON.stringify(body);
  if (asking.signal) init.signal = asking.signal;
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (asking.signal?.aborted) throw error;
    throw new Unreachable(error);
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer: Response): Promise<Refused> {
  const text = await answer.text();
  if (answer.headers.get("content-type")?.startsWith("application/problem+json")) {
    const problem = JSON.parse(text) as Problem;
    return new Refused(answer.status, problem.code, problem.detail, problem.request_id);
  }
  return new Refused(answer.status, "unknown", `The answer was ${answer.status}: ${text.slice(0, 200)}`, "");
}

/** The JSON of an answer; undefined where it has none.  Throws `Refused` or `Unreachable`. */
export async function ask<T>(method: string, path: string, asking: Asking = {}): Promise<T> {
  const answer = await send(method, path, asking);
  const text = await answer.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** The bytes of an answer. */
export async function askBytes(path: string): Promise<Blob> {
  return await (await send("GET", path, {})).blob();
}

/** Everything of a paged collection, newest first. */
export async function askAll<T>(path: string): Promise<T[]> {
  const found: T[] = [];
  let next: string | null = path;
  while (next !== null) {
    const answer: Response = await send("GET", next, {});
    found.push(...((await answer.json()) as T[]));
    next = nextPage(answer.headers.get("link"));
  }
  return found;
}

/** A part of a collection, and the path of the next part; null at the end. */
export interface Page<T> {
  readonly items: T[];
  readonly next: string | null;
}

/** One page of a collection. */
export async function askPage<T>(path: string): Promise<Page<T>> {
  const answer = await send("GET", path, {});
  return { items: (await answer.json()) as T[], next: nextPage(answer.headers.get("link")) };
}

/** The path of the next page in a Link header; null at the end. */
export function nextPage(link: string | null): string | null {
  const url = /<([^>]*)>;\s*rel="?next"?/.exec(link ?? "")?.[1];
  if (url === undefined) return null;
  const parsed = new URL(url, "http://self");
  return parsed.pathname + parsed.search;
}

/** An answer's events, as they come. */
export async function* follow(
  method: string,
  path: string,
  asking: Asking = {},
): AsyncGenerator<ServerEvent, void> {
  const answer = await send(method, path, { ...asking, accept: "text/event-stream" });
  if (answer.body !== null) yield* eventsOf(answer.body);
}
