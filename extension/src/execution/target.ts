/** Where code of the editor runs: one VM that was chosen once, or all that run. */
import * as vscode from "vscode";
import { cancelled } from "../api/problem";
import type { VM } from "../api/types";
import type { Core } from "../core";
import { targetVM } from "../pick";

const KEY = "vmpool.runTarget";
const ALL = "*";
const READY: readonly string[] = ["running", "paused"];

/** The VMs to run in; asks where none was chosen before, or that one cannot be used any more. */
export async function runTarget(core: Core): Promise<readonly VM[]> {
  const chosen = core.context.workspaceState.get<string>(KEY);
  await core.connection.client();
  const ready = (await core.pool.loaded()).filter((vm) => READY.includes(vm.status));
  if (chosen === ALL && ready.length > 0) return ready;
  const known = ready.find((vm) => vm.name === chosen);
  if (known) return [known];
  const vm = await targetVM(core, undefined, { title: "Run in which VM?", states: ["running", "paused"] });
  await core.context.workspaceState.update(KEY, vm.name);
  return [vm];
}

/** Choose anew, all VMs among the choices. */
export async function chooseRunTarget(core: Core): Promise<readonly VM[]> {
  await core.connection.client();
  const ready = (await core.pool.loaded()).filter((vm) => READY.includes(vm.status));
  const items = [
    ...ready.map((vm) => ({ label: vm.name, description: vm.language, target: vm.name })),
    ...(ready.length > 1 ? [{ label: "All running VMs", description: `${ready.length}`, target: ALL }] : []),
  ];
  if (items.length === 0) return await runTarget(core); // which says that there is none, and offers one
  const chosen = await vscode.window.showQuickPick(items, { title: "Run code of this workspace in which VM?" });
  if (!chosen) throw cancelled();
  await core.context.workspaceState.update(KEY, chosen.target);
  return await runTarget(core);
}
