/** Live CPU and memory, of which no event tells: read at a calm rate, and only while somebody looks. */
import type { PoolClient } from "../api/client";
import { PoolError, Unreachable, isCancelled } from "../api/problem";
import type { VM, VMStatus } from "../api/types";
import type { Subscription } from "../emitter";

export class Figures {
  private readonly last = new Map<number, VMStatus>();
  private watchers = 0;
  private client: PoolClient | null = null;
  private signal: AbortSignal = AbortSignal.abort();
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly interval: () => number,
    private readonly running: () => readonly VM[],
    private readonly changed: (ids: ReadonlySet<number>) => void,
  ) {}

  /** The last look at this VM; undefined where it does not run or nobody has looked. */
  of(vmId: number): VMStatus | undefined {
    return this.last.get(vmId);
  }

  /** Somebody looks, until the answer is disposed of. */
  watch(): Subscription {
    this.watchers += 1;
    if (this.watchers === 1) this.plan(0);
    let over = false;
    return {
      dispose: () => {
        if (over) return;
        over = true;
        this.watchers -= 1;
        if (this.watchers === 0) clearTimeout(this.timer);
      },
    };
  }

  start(client: PoolClient, signal: AbortSignal): void {
    this.client = client;
    this.signal = signal;
    if (this.watchers > 0) this.plan(0);
  }

  /** Forget those of VMs that do not run any more; look at once where one runs of which there are none. */
  keep(running: ReadonlySet<number>): void {
    for (const id of this.last.keys()) if (!running.has(id)) this.last.delete(id);
    if (this.watchers > 0 && [...running].some((id) => !this.last.has(id))) this.plan(0);
  }

  clear(): void {
    this.client = null;
    this.last.clear();
    clearTimeout(this.timer);
  }

  private plan(milliseconds: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.look(), milliseconds);
  }

  private async look(): Promise<void> {
    const { client, signal } = this;
    if (client === null) return;
    const ids = this.running().map((vm) => vm.id);
    const found = await Promise.all(ids.map((id) => status(client, id, signal)));
    if (client !== this.client || signal.aborted) return;
    for (const one of found) if (one !== null) this.last.set(one.id, one);
    if (ids.length > 0) this.changed(new Set(ids));
    if (this.watchers > 0) this.plan(this.interval());
  }
}

/** null: it does not run any more, or the server is away, which the event stream tells of. */
async function status(client: PoolClient, id: number, signal: AbortSignal): Promise<VMStatus | null> {
  try {
    return await client.request("get", "/api/vms/{vm_id}/status", { path: { vm_id: id }, signal });
  } catch (error) {
    if (error instanceof PoolError || error instanceof Unreachable || isCancelled(error)) return null;
    throw error;
  }
}
