/** Looks again at VMs of which an event has come: one look at a time, so that an older never follows a newer one. */
import type { PoolClient } from "../api/client";
import { PoolError, isCancelled } from "../api/problem";
import type { PoolStatus, VM } from "../api/types";

export interface Found {
  /** The VMs as they are known now. */
  readonly current: () => readonly VM[];
  readonly found: (vms: readonly VM[], status: PoolStatus, ids: ReadonlySet<number>) => void;
  readonly failed: (error: unknown) => void;
}

/** Of more at once, the list is asked for instead. */
const AT_ONCE = 5;

export class Refresher {
  private readonly changed = new Set<number>();
  private busy = false;

  constructor(
    private readonly client: PoolClient,
    private readonly signal: AbortSignal,
    private readonly told: Found,
  ) {}

  /** Something has happened to this VM. */
  add(vmId: number): void {
    this.changed.add(vmId);
    if (!this.busy) void this.run();
  }

  private async run(): Promise<void> {
    this.busy = true;
    try {
      while (this.changed.size > 0) {
        const ids = new Set(this.changed);
        this.changed.clear();
        const { vms, status } = await this.look(ids);
        this.told.found(vms, status, ids);
      }
    } catch (error) {
      if (!isCancelled(error)) this.told.failed(error);
    } finally {
      this.busy = false;
    }
  }

  private async look(ids: ReadonlySet<number>): Promise<{ vms: readonly VM[]; status: PoolStatus }> {
    if (ids.size > AT_ONCE) return await lookAt(this.client, this.signal);
    const [now, status] = await Promise.all([
      Promise.all([...ids].map((id) => this.find(id))),
      this.client.request("get", "/api/vms/pool-status", { signal: this.signal }),
    ]);
    return { vms: merged(this.told.current(), ids, now), status };
  }

  private async find(id: number): Promise<VM | null> {
    try {
      const vm = await this.client.request("get", "/api/vms/{vm_id}", { path: { vm_id: id }, signal: this.signal });
      return vm.status === "deleted" ? null : vm;
    } catch (error) {
      if (error instanceof PoolError && error.status === 404) return null;
      throw error;
    }
  }
}

/** Everything as it is now. */
export async function lookAt(
  client: PoolClient,
  signal: AbortSignal,
): Promise<{ vms: readonly VM[]; status: PoolStatus }> {
  const [vms, status] = await Promise.all([
    client.all("/api/vms", { query: { limit: 100 }, signal }),
    client.request("get", "/api/vms/pool-status", { signal }),
  ]);
  return { vms, status };
}

/** The list with these looked at again: null is one that is gone.  Newest first. */
export function merged(vms: readonly VM[], ids: ReadonlySet<number>, now: readonly (VM | null)[]): VM[] {
  const others = vms.filter((vm) => !ids.has(vm.id));
  return [...others, ...now.filter((vm) => vm !== null)].sort((a, b) => b.id - a.id);
}
