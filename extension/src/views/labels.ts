/** How what the tree shows reads: plain values, from which `treeView.ts` makes the editor's own. */
import type { Execution, VM, VMState, VMStatus } from "../api/types";

/** A codicon and one of the editor's colours. */
export interface Icon {
  readonly name: string;
  readonly color?: string;
}

export function vmIcon(state: VMState): Icon {
  switch (state) {
    case "running":
      return { name: "vm-running", color: "charts.green" };
    case "paused":
      return { name: "debug-pause", color: "charts.yellow" };
    case "stopped":
      return { name: "vm-outline" };
    case "error":
      return { name: "error", color: "charts.red" };
    case "deleted":
      return { name: "trash" };
    case "creating":
    case "starting":
    case "stopping":
    case "restoring":
    case "deleting":
      return { name: "loading~spin" };
  }
}

/** What stands beside a VM's name: live figures against its limits, or its state. */
export function vmDescription(vm: VM, figures: VMStatus | undefined): string {
  if (vm.status !== "running") return vm.status;
  if (figures === undefined) return `${vm.language} · ${cores(vm.cpu_limit)} · ${megabytes(vm.memory_limit)}`;
  const parts = [];
  if (figures.cpu_percent !== null) parts.push(`${Math.round(figures.cpu_percent)} %`);
  if (figures.memory_bytes !== null) {
    parts.push(`${megabytes(figures.memory_bytes / 2 ** 20)} of ${megabytes(vm.memory_limit)}`);
  }
  if (figures.executions > 0) parts.push(`runs ${figures.executions}`);
  return parts.join(" · ");
}

/** A VM as Markdown: all of it, for who points at it. */
export function vmTooltip(vm: VM, figures: VMStatus | undefined): string {
  const rows: [string, string][] = [
    ["State", vm.error === null ? vm.status : `${vm.status}: ${vm.error}`],
    ["Template", vm.template],
    ["CPU", used(figures?.cpu_percent ?? null, (value) => `${Math.round(value)} % of `, cores(vm.cpu_limit))],
    ["Memory", used(figures?.memory_bytes ?? null, sizeOf, megabytes(vm.memory_limit))],
    ["Disk", used(figures?.disk_bytes ?? null, sizeOf, megabytes(vm.disk_limit))],
    ["Network", vm.network],
    ["Isolation", `${vm.isolation} (${vm.backend})`],
  ];
  if (vm.expires_at !== null) rows.push(["Deleted at", new Date(vm.expires_at).toLocaleString()]);
  const table = rows.map(([name, value]) => `| ${name} | ${escaped(value)} |`).join("\n");
  const warnings = vm.warnings.map((warning) => `\n\n⚠ ${escaped(warning)}`).join("");
  return `**${escaped(vm.name)}**\n\n| | |\n|---|---|\n${table}${warnings}`;
}

export function executionIcon(execution: Execution): Icon {
  if (execution.state === "running") return { name: "loading~spin" };
  if (execution.state === "lost") return { name: "circle-slash", color: "charts.orange" };
  return execution.exit_code === 0
    ? { name: "pass", color: "charts.green" }
    : { name: "error", color: "charts.red" };
}

/** The first line of its code that says anything. */
export function executionLabel(execution: Execution): string {
  const line = execution.code.split("\n").find((text) => text.trim() !== "");
  return (line?.trim() ?? "").slice(0, 80) || `execution ${execution.id}`;
}

export function executionDescription(execution: Execution): string {
  if (execution.state === "running") return execution.terminal ? "terminal" : "runs";
  if (execution.state === "lost") return "lost";
  const time = execution.execution_time === null ? "" : `, ${duration(execution.execution_time)}`;
  if (execution.timed_out) return `time limit${time}`;
  if (execution.oom_killed) return `out of memory${time}`;
  return `exit ${execution.exit_code ?? "?"}${time}`;
}

/** Megabytes, as the largest unit in which they are at least one. */
export function megabytes(value: number): string {
  return value >= 1024 ? `${rounded(value / 1024)} GB` : `${rounded(value)} MB`;
}

/** Bytes, as the largest unit in which they are at least one. */
export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  return value < 2 ** 20 ? `${rounded(value / 1024)} kB` : megabytes(value / 2 ** 20);
}

export function cores(value: number): string {
  return value === 1 ? "1 core" : `${rounded(value)} cores`;
}

/** Seconds; below one, thousandths of it. */
export function duration(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

function used(value: number | null, write: (value: number) => string, limit: string): string {
  return value === null ? limit : write(value) + limit;
}

function sizeOf(value: number): string {
  return `${bytes(value)} of `;
}

function rounded(value: number): string {
  return String(Math.round(value * 10) / 10);
}

/** Names and messages come from elsewhere: none of them may become Markdown. */
function escaped(text: string): string {
  return text.replaceAll(/[\\`*_{}[\]()#+\-!|<>&$~]/g, "\\$&").replaceAll("\n", " ");
}
