/** Which VM a command is for: the one it was begun at, the only one there is, or one that is chosen. */
import * as vscode from "vscode";
import { cancelled } from "./api/problem";
import type { VM, VMState } from "./api/types";
import type { Core } from "./core";
import { vmDescription, vmIcon } from "./views/labels";
import { isNode } from "./views/nodes";

interface VMItem extends vscode.QuickPickItem {
  readonly vm: VM;
}

/** What a key that is pressed in the tree gives its command, in place of what is marked there. */
const BY_KEY = "selection";

export interface Wanted {
  /** What is asked, for example "Start which VM?". */
  readonly title: string;
  /** Only VMs in these states; default: any. */
  readonly states?: readonly VMState[];
  /** Ask also where there is only one. */
  readonly alwaysAsk?: boolean;
}

/** The VM a command was given by the tree, as a node, or by a caller, as its id or name; undefined: none was. */
export function givenVM(core: Core, given: unknown): VM | undefined {
  if (given === BY_KEY) return core.selection.nodes.map(({ vm }) => core.pool.vm(vm.id)).find((vm) => vm !== undefined);
  if (isNode(given)) return core.pool.vm(given.vm.id) ?? given.vm;
  if (typeof given !== "number" && typeof given !== "string") return undefined;
  return core.pool.vms?.find((vm) => vm.id === given || vm.name === given);
}

/** The VMs of a command: all chosen nodes of the tree where there are several. */
export function givenVMs(core: Core, given: readonly unknown[]): VM[] {
  const [one, several] = given;
  const marked = one === BY_KEY ? core.selection.nodes : several;
  const nodes = Array.isArray(marked) && marked.length > 0 ? (marked as unknown[]) : [one];
  const found = nodes.map((node) => givenVM(core, node)).filter((vm) => vm !== undefined);
  return [...new Map(found.map((vm) => [vm.id, vm])).values()];
}

/** The given VM, or one that is chosen.  Throws AbortError where none is, and says so where there is none. */
export async function targetVM(core: Core, given: unknown, wanted: Wanted): Promise<VM> {
  const vm = givenVM(core, given);
  if (vm) return vm;
  const fitting = await fittingVMs(core, wanted);
  const [only] = fitting;
  if (only && fitting.length === 1 && !wanted.alwaysAsk) return only;
  const chosen = await vscode.window.showQuickPick(fitting.map(itemOf(core)), {
    title: wanted.title,
    placeHolder: "Type to filter by name",
    matchOnDescription: true,
  });
  if (!chosen) throw cancelled();
  return chosen.vm;
}

/** Several VMs that are chosen, all of them marked at first. */
export async function targetVMs(core: Core, given: readonly unknown[], wanted: Wanted): Promise<VM[]> {
  const vms = givenVMs(core, given);
  if (vms.length > 0) return vms;
  const fitting = await fittingVMs(core, wanted);
  if (fitting.length === 1 && !wanted.alwaysAsk) return [...fitting];
  const items = fitting.map((vm) => ({ ...itemOf(core)(vm), picked: true }));
  const chosen = await vscode.window.showQuickPick(items, { title: wanted.title, canPickMany: true });
  if (!chosen || chosen.length === 0) throw cancelled();
  return chosen.map(({ vm }) => vm);
}

/** The VMs in the wanted states.  Where there is none, says so, offers one to be made, and throws AbortError. */
async function fittingVMs(core: Core, wanted: Wanted): Promise<readonly VM[]> {
  await core.connection.client();
  const vms = await core.pool.loaded();
  const { states } = wanted;
  const fitting = states ? vms.filter((vm) => states.includes(vm.status)) : vms;
  if (fitting.length > 0) return fitting;
  const text = vms.length === 0 ? "There is no VM yet." : `No VM is ${states?.join(" or ") ?? "there"}.`;
  const offers = vms.length === 0 || states?.includes("running") ? ["Create VM"] : [];
  if (vms.some((vm) => vm.status === "stopped") && states?.includes("running")) offers.push("Start VM");
  void vscode.window.showInformationMessage(text, ...offers).then((chosen) => {
    if (chosen === "Create VM") void vscode.commands.executeCommand("vmpool.createVM");
    if (chosen === "Start VM") void vscode.commands.executeCommand("vmpool.startVM");
  });
  throw cancelled();
}

function itemOf(core: Core): (vm: VM) => VMItem {
  return (vm) => ({
    vm,
    label: `$(${vmIcon(vm.status).name}) ${vm.name}`,
    description: vmDescription(vm, core.pool.figures.of(vm.id)),
  });
}
