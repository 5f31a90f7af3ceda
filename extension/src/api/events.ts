/** What changes in the pool, as it changes: a stream that goes on by itself where it was cut. */
import type { PoolClient } from "./client";
import { PoolError, Unreachable, isCancelled } from "./problem";
import type { PoolEvent } from "./types";

/** What a reader is told, beside the events. */
export interface Watcher {
  /** Everything as it is now: answers when the picture is whole.  Asked at first and where events are missing. */
  readonly load: (signal: AbortSignal) => Promise<void>;
  readonly happened: (event: PoolEvent) => void;
  /** The connection is there again. */
  readonly connected: () => void;
  /** It is not, and will be tried again. */
  readonly cut: (error: unknown) => void;
}

/** Milliseconds until the first new try, and the longest between two. */
const FIRST_RETRY = 500;
const LONGEST_RETRY = 15_000;

/**
 * Follow the pool until `signal` is aborted.  Throws PoolError where no retry helps: the key is not good any more.
 *
 * The newest event's number is asked before `load`, so nothing falls between the two.
 */
export async function follow(client: PoolClient, watcher: Watcher, signal: AbortSignal): Promise<void> {
  let after: number | null = null;
  let retry = FIRST_RETRY;
  while (!isOver(signal)) {
    try {
      if (after === null) {
        const newest = await client.request("get", "/api/events", { query: { limit: 1 }, signal });
        await watcher.load(signal);
        after = newest[0]?.id ?? 0;
      }
      watcher.connected();
      const from: number = after;
      for await (const event of client.events("get", "/api/events", {
        query: { follow: true },
        headers: { "last-event-id": String(from) },
        signal,
      })) {
        const happened = JSON.parse(event.data) as PoolEvent;
        after = happened.id;
        retry = FIRST_RETRY;
        if (happened.type === "events.missing" || happened.type === "server.started") await watcher.load(signal);
        watcher.happened(happened);
      }
    } catch (error) {
      if (isOver(signal) || isCancelled(error)) return;
      if (error instanceof PoolError && [401, 403].includes(error.status)) throw error;
      if (error instanceof PoolError && error.code === "events_gone") after = null;
      else if (!(error instanceof PoolError) && !(error instanceof Unreachable)) throw error;
      watcher.cut(error);
    }
    await pause(retry * (0.75 + Math.random() / 2), signal);
    retry = Math.min(retry * 2, LONGEST_RETRY);
  }
}

/** Asked again after each wait: the compiler takes a property for what it was before. */
function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** Wait so many milliseconds, or until `signal` is aborted. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}
