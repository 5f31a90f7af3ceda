/** What the tree of VMs is made of. */
import type { Execution, FileInfo, Snapshot, VM } from "../api/types";

export const GROUPS = ["executions", "snapshots", "ports", "files"] as const;
export type Group = (typeof GROUPS)[number];

export type Node =
  | { readonly kind: "vm"; readonly vm: VM }
  | { readonly kind: "group"; readonly vm: VM; readonly group: Group }
  | { readonly kind: "execution"; readonly vm: VM; readonly execution: Execution }
  | { readonly kind: "snapshot"; readonly vm: VM; readonly snapshot: Snapshot }
  | { readonly kind: "port"; readonly vm: VM; readonly port: number; readonly localPort: number | null }
  | { readonly kind: "file"; readonly vm: VM; readonly path: string; readonly info: FileInfo }
  | { readonly kind: "note"; readonly vm: VM; readonly id: string; readonly text: string };

/** The same for the same thing, whatever has changed of it: the tree keeps what is open and chosen by it. */
export function idOf(node: Node): string {
  const vm = `vm/${node.vm.id}`;
  switch (node.kind) {
    case "vm":
      return vm;
    case "group":
      return `${vm}/${node.group}`;
    case "execution":
      return `${vm}/executions/${node.execution.id}`;
    case "snapshot":
      return `${vm}/snapshots/${node.snapshot.id}`;
    case "port":
      return `${vm}/ports/${node.port}`;
    case "file":
      return `${vm}/files${node.path}`;
    case "note":
      return `${vm}/note/${node.id}`;
  }
}

/** Whether a command was given a node of the tree. */
export function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "kind" in value && "vm" in value;
}
