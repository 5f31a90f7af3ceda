/** What the status panel and the editor say to one another. */
import type { Sample } from "./series";

export interface VMView {
  readonly id: number;
  readonly name: string;
  readonly state: string;
  readonly language: string;
  readonly error: string | null;
  /** Cores, MB, MB. */
  readonly cpuLimit: number;
  readonly memoryLimit: number;
  readonly diskLimit: number;
  readonly diskBytes: number | null;
  readonly processes: number | null;
  readonly executions: number;
  readonly samples: readonly Sample[];
}

export interface PoolView {
  readonly vms: number;
  readonly mostVMs: number;
  readonly totalVMs: number;
  readonly mostTotalVMs: number;
  readonly executions: number;
  readonly backend: string;
  readonly version: string;
  readonly samples: readonly Sample[];
}

export interface ExecutionView {
  readonly id: number;
  readonly label: string;
  readonly description: string;
  readonly state: "running" | "good" | "bad";
  readonly at: string;
}

export interface LogLine {
  readonly execution: number;
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

export type ToPanel =
  /** trouble: why what is shown may be old. */
  | { readonly type: "pool"; readonly pool: PoolView | null; readonly vms: readonly VMView[]; readonly trouble: string | null }
  | { readonly type: "chosen"; readonly vm: number | null }
  | { readonly type: "executions"; readonly vm: number; readonly executions: readonly ExecutionView[] }
  /** begin: these are the first of this VM. */
  | { readonly type: "logs"; readonly vm: number; readonly begin: boolean; readonly lines: readonly LogLine[] };

/** What a button of a VM does; each is a command of the extension. */
export const ACTIONS = {
  create: "vmpool.createVM",
  start: "vmpool.startVM",
  stop: "vmpool.stopVM",
  terminal: "vmpool.openTerminal",
  delete: "vmpool.deleteVM",
} as const;
export type Action = keyof typeof ACTIONS;

export type FromPanel =
  | { readonly type: "ready" }
  | { readonly type: "choose"; readonly vm: number | null }
  | { readonly type: "act"; readonly action: Action; readonly vm: number | null }
  | { readonly type: "showExecution" | "cancelExecution"; readonly vm: number; readonly execution: number };

/** A message of the panel; null for what is none: a page is not believed. */
export function fromPanel(value: unknown): FromPanel | null {
  if (typeof value !== "object" || value === null) return null;
  const { type, vm, action, execution } = value as Readonly<Record<string, unknown>>;
  const of = typeof vm === "number" ? vm : null;
  switch (type) {
    case "ready":
      return { type };
    case "choose":
      return { type, vm: of };
    case "act":
      return typeof action === "string" && Object.hasOwn(ACTIONS, action) ? { type, action: action as Action, vm: of } : null;
    case "showExecution":
    case "cancelExecution":
      return of !== null && typeof execution === "number" ? { type, vm: of, execution } : null;
    default:
      return null;
  }
}

/** Fails to compile where a kind of message is not handled. */
export function unhandled(message: never): never {
  throw new Error(`no such message: ${JSON.stringify(message)}`);
}
