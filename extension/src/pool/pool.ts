/** The pool as the editor knows it: loaded once, then kept up by the event stream. */
import type { PoolClient } from "../api/client";
import { follow } from "../api/events";
import { isCancelled } from "../api/problem";
import type { Execution, PoolEvent, PoolStatus, Snapshot, VM } from "../api/types";
import { Emitter } from "../emitter";
import { Belongings } from "./belongings";
import { Figures } from "./figures";
import { Refresher, lookAt } from "./refresher";

/** What has changed: these VMs, or everything. */
export type Change = ReadonlySet<number> | "all";

/** Executions and snapshots that are kept of each VM whose part of the tree is open. */
const KEPT = 20;

export class Pool {
  private readonly changes = new Emitter<Change>();
  private readonly heard = new Emitter<PoolEvent>();
  /** VMs, their figures, executions or snapshots, or the connection, are others. */
  readonly onDidChange = this.changes.event;
  /** Each event of the stream as it comes, once it is known here. */
  readonly onDidHear = this.heard.event;

  private known: readonly VM[] | null = null;
  private lastStatus: PoolStatus | null = null;
  private lastTrouble: Error | null = null;
  private client: PoolClient | null = null;
  private stopping = new AbortController();

  /** CPU and memory of the VMs that run, read while somebody looks. */
  readonly figures: Figures;
  private readonly executionsOf = new Belongings<Execution>((vmId, signal) =>
    this.requireClient().all("/api/vms/{vm_id}/executions", { path: { vm_id: vmId }, query: { limit: KEPT }, signal }, KEPT),
  );
  private readonly snapshotsOf = new Belongings<Snapshot>((vmId, signal) =>
    this.requireClient().all("/api/vms/{vm_id}/snapshots", { path: { vm_id: vmId }, signal }),
  );

  /** interval: milliseconds between two looks at figures. */
  constructor(interval: () => number) {
    this.figures = new Figures(interval, () => this.running(), (ids) => this.changes.fire(ids));
  }

  /** The VMs, newest first; null: not known yet. */
  get vms(): readonly VM[] | null {
    return this.known;
  }

  /** Limits, use, backend and host, as of the last change; null: not known yet. */
  get status(): PoolStatus | null {
    return this.lastStatus;
  }

  /** Why what is shown may be old; null: it is up to date. */
  get trouble(): Error | null {
    return this.lastTrouble;
  }

  /** The VMs once they are known: after connecting, they are loaded in the background.  Throws what kept them. */
  loaded(): Promise<readonly VM[]> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        if (this.known !== null) resolve(this.known);
        else if (this.client === null) reject(new Error("The connection to the pool has ended."));
        else if (this.lastTrouble !== null) reject(this.lastTrouble);
        else return false;
        return true;
      };
      if (settle()) return;
      const subscription = this.onDidChange(() => {
        if (settle()) subscription.dispose();
      });
    });
  }

  vm(id: number): VM | undefined {
    return this.known?.find((vm) => vm.id === id);
  }

  running(): readonly VM[] {
    return (this.known ?? []).filter((vm) => vm.status === "running");
  }

  /** A VM's last executions, newest first.  Loaded when asked for, then kept up. */
  executions(vmId: number): Promise<readonly Execution[]> {
    return this.executionsOf.of(vmId, this.stopping.signal);
  }

  /** A VM's snapshots, newest first.  Loaded when asked for, then kept up. */
  snapshots(vmId: number): Promise<readonly Snapshot[]> {
    return this.snapshotsOf.of(vmId, this.stopping.signal);
  }

  /**
   * Follow the pool of this client until `stop`, or another `start`.
   *
   * lost: told once where no retry helps, because the key is not good any more.
   */
  start(client: PoolClient, lost: (error: unknown) => void): void {
    this.stop();
    const stopping = (this.stopping = new AbortController());
    const { signal } = stopping;
    this.client = client;
    this.figures.start(client, signal);
    const refresher = new Refresher(client, signal, {
      current: () => this.known ?? [],
      found: (vms, status, ids) => this.learn(vms, status, ids),
      failed: (error) => this.setTrouble(asError(error)),
    });
    void follow(
      client,
      {
        load: async (loading) => {
          const { vms, status } = await lookAt(client, loading);
          this.learn(vms, status, "all");
        },
        happened: (event) => this.hear(event, refresher),
        connected: () => this.setTrouble(null),
        cut: (error) => this.setTrouble(asError(error)),
      },
      signal,
    ).catch((error: unknown) => {
      if (isCancelled(error) || signal.aborted) return;
      this.stop();
      lost(error);
    });
  }

  /** Know nothing any more. */
  stop(): void {
    this.stopping.abort();
    this.client = null;
    this.known = this.lastStatus = this.lastTrouble = null;
    this.executionsOf.clear();
    this.snapshotsOf.clear();
    this.figures.clear();
    this.changes.fire("all");
  }

  dispose(): void {
    this.stop();
    this.changes.dispose();
    this.heard.dispose();
  }

  private requireClient(): PoolClient {
    if (this.client === null) throw new Error("not connected");
    return this.client;
  }

  private learn(vms: readonly VM[], status: PoolStatus, ids: Change): void {
    this.known = vms;
    this.lastStatus = status;
    if (ids === "all") {
      this.executionsOf.clear();
      this.snapshotsOf.clear();
    }
    this.figures.keep(new Set(this.running().map((vm) => vm.id)));
    this.changes.fire(ids);
  }

  private setTrouble(error: Error | null): void {
    if (this.lastTrouble === error) return;
    this.lastTrouble = error;
    this.changes.fire("all");
  }

  private hear(event: PoolEvent, refresher: Refresher): void {
    if (event.vm_id !== null) {
      const [family] = event.type.split(".");
      if (family === "snapshot") this.snapshotsOf.forget(event.vm_id);
      if (family === "execution") this.executionsOf.forget(event.vm_id);
      if (family === "vm") refresher.add(event.vm_id);
      else this.changes.fire(new Set([event.vm_id]));
    }
    this.heard.fire(event);
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
