/** What the panel shows, from what the editor knows of the pool. */
import { words } from "../api/problem";
import type { Execution, PoolStatus, VM, VMStatus } from "../api/types";
import { executionDescription, executionLabel } from "../views/labels";
import type { ExecutionView, PoolView, VMView } from "./messages";
import { extended, summed, type Sample } from "./series";

/** Keeps the figures' past while the panel is there. */
export class Past {
  private readonly samples = new Map<number, readonly Sample[]>();
  private readonly seen = new Map<number, VMStatus>();
  private sums: readonly Sample[] = [];

  /** Take note of a look at the VMs that run; whether there was anything new. */
  note(at: number, running: readonly VM[], figures: (id: number) => VMStatus | undefined): boolean {
    let isNew = false;
    for (const { id } of running) {
      const status = figures(id);
      if (status === undefined || this.seen.get(id) === status) continue;
      this.seen.set(id, status);
      this.samples.set(id, extended(this.of(id), { at, cpu: status.cpu_percent, memory: status.memory_bytes }));
      isNew = true;
    }
    const ids = new Set(running.map((vm) => vm.id));
    for (const id of [...this.samples.keys()]) {
      if (ids.has(id)) continue;
      this.samples.delete(id);
      this.seen.delete(id);
    }
    if (isNew) this.sums = extended(this.sums, summed(at, running.map(({ id }) => this.of(id)[this.of(id).length - 1])));
    return isNew;
  }

  of(vmId: number): readonly Sample[] {
    return this.samples.get(vmId) ?? [];
  }

  get pool(): readonly Sample[] {
    return this.sums;
  }
}

export function vmView(vm: VM, status: VMStatus | undefined, samples: readonly Sample[]): VMView {
  return {
    id: vm.id,
    name: vm.name,
    state: vm.status,
    language: vm.language,
    error: vm.error,
    cpuLimit: vm.cpu_limit,
    memoryLimit: vm.memory_limit,
    diskLimit: vm.disk_limit,
    diskBytes: status?.disk_bytes ?? null,
    processes: status?.processes ?? null,
    executions: status?.executions ?? 0,
    samples,
  };
}

export function poolView(status: PoolStatus, vms: readonly VM[], samples: readonly Sample[]): PoolView {
  return {
    vms: vms.length,
    mostVMs: status.limits.max_vms_per_user,
    totalVMs: status.use.total_vms,
    mostTotalVMs: status.limits.max_total_vms,
    executions: status.use.executions,
    backend: status.backend.name,
    version: status.version,
    samples,
  };
}

export function executionView(execution: Execution): ExecutionView {
  return {
    id: execution.id,
    label: executionLabel(execution),
    description: executionDescription(execution),
    state: execution.state === "running" ? "running" : execution.exit_code === 0 ? "good" : "bad",
    at: execution.executed_at,
  };
}

export function troubleOf(trouble: unknown): string | null {
  return trouble === null ? null : words(trouble);
}
