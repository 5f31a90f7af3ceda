/** The pool as this page knows it: loaded once, then kept up by the event stream. */
import { Refused, Unreachable, ask, askAll, follow } from "../api/client";
import type { PoolEvent, PoolStatus, VM } from "../api/types";

export interface PoolState {
  /** null: not known yet. */
  readonly vms: readonly VM[] | null;
  readonly status: PoolStatus | null;
  /** Why what is shown may be old; null: it is up to date. */
  readonly trouble: string | null;
  /** By VM: the number of the last event of a snapshot of it. */
  readonly snapshots: ReadonlyMap<number, number>;
  /** The last change in words, for screen readers. */
  readonly said: string;
}

const AT_ONCE = 5;
/** Milliseconds between looks at figures that no event announces: the host's. */
const SAMPLE = 10_000;
const RETRY = 2_000;

type Listener = () => void;

export class Pool {
  state: PoolState = { vms: null, status: null, trouble: null, snapshots: new Map(), said: "" };
  private readonly listeners = new Set<Listener>();
  private readonly changed = new Set<number>();
  private readonly stopping = new AbortController();
  private refreshing: Promise<void> | null = null;

  /** signedOut: called once, when the session is over. */
  constructor(private readonly signedOut: () => void) {}

  subscribe(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Follow the pool until `stop`. */
  start(): void {
    void this.run();
    const timer = setInterval(() => {
      if (!document.hidden) void this.sample();
    }, SAMPLE);
    this.stopping.signal.addEventListener("abort", () => clearInterval(timer));
  }

  stop(): void {
    this.stopping.abort();
  }

  private set(change: Partial<PoolState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.listeners) listener();
  }

  private async run(): Promise<void> {
    let after: number | null = null;
    while (!this.stopping.signal.aborted) {
      try {
        after ??= await this.load();
        for await (const event of follow("GET", `/api/events?follow=true&after=${after}`, {
          signal: this.stopping.signal,
        })) {
          if (event.event === "error") break;
          const happened = JSON.parse(event.data) as PoolEvent;
          after = happened.id;
          this.hear(happened);
        }
      } catch (error) {
        if (this.isOver(error)) return;
        after = null; // whatever was missed is loaded again
        this.set({ trouble: error instanceof Error ? error.message : String(error) });
      }
      await pause(RETRY, this.stopping.signal);
    }
  }

  /** Everything as it is now.  Answers the event to go on after: asked first, so that nothing falls between. */
  private async load(): Promise<number> {
    const newest = await ask<PoolEvent[]>("GET", "/api/events?limit=1");
    const [vms, status] = await Promise.all([
      askAll<VM>("/api/vms?limit=100"),
      ask<PoolStatus>("GET", "/api/vms/pool-status"),
    ]);
    this.set({ vms, status, trouble: null });
    return newest[0]?.id ?? 0;
  }

  private hear(event: PoolEvent): void {
    if (event.vm_id === null) return;
    if (event.type.startsWith("snapshot.")) {
      this.set({ snapshots: new Map(this.state.snapshots).set(event.vm_id, event.id) });
    }
    this.changed.add(event.vm_id);
    if (event.type.startsWith("vm.")) {
      const name = this.state.vms?.find((vm) => vm.id === event.vm_id)?.name ?? `VM ${event.vm_id}`;
      this.set({ said: `${name}: ${event.type.slice("vm.".length)}` });
    }
    this.refreshing ??= this.refresh().finally(() => (this.refreshing = null));
  }

  /** Look at what has changed: one at a time, so that an older answer never follows a newer one. */
  private async refresh(): Promise<void> {
    try {
      while (this.changed.size > 0) {
        const ids = [...this.changed];
        this.changed.clear();
        const vms =
          ids.length > AT_ONCE
            ? await askAll<VM>("/api/vms?limit=100")
            : merged(this.state.vms ?? [], ids, await Promise.all(ids.map((id) => found(id))));
        this.set({ vms, status: await ask<PoolStatus>("GET", "/api/vms/pool-status"), trouble: null });
      }
    } catch (error) {
      if (!this.isOver(error)) this.set({ trouble: error instanceof Error ? error.message : String(error) });
    }
  }

  private async sample(): Promise<void> {
    try {
      this.set({ status: await ask<PoolStatus>("GET", "/api/vms/pool-status") });
    } catch (error) {
      if (!this.isOver(error) && !(error instanceof Unreachable)) throw error; // the stream says so too
    }
  }

  private isOver(error: unknown): boolean {
    if (this.stopping.signal.aborted) return true; // nobody looks any more
    if (!(error instanceof Refused) || error.status !== 401) return false;
    this.stop();
    this.signedOut();
    return true;
  }
}

/** The list with these looked at again: null is one that is gone.  Newest first. */
export function merged(vms: readonly VM[], ids: readonly number[], now: readonly (VM | null)[]): VM[] {
  const others = vms.filter((vm) => !ids.includes(vm.id));
  return [...others, ...now.filter((vm) => vm !== null)].sort((a, b) => b.id - a.id);
}

async function found(id: number): Promise<VM | null> {
  try {
    const vm = await ask<VM>("GET", `/api/vms/${id}`);
    return vm.status === "deleted" ? null : vm;
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
