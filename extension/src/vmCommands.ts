/** The eight commands of the specification. */
import * as vscode from "vscode";
import { at } from "./api/client";
import type { PoolClient } from "./api/client";
import { PoolError, cancelled } from "./api/problem";
import type { VM } from "./api/types";
import { command, withProgress } from "./commands";
import type { Core, Feature } from "./core";
import { askForVM } from "./createForm";
import { givenVM, givenVMs, targetVM, targetVMs } from "./pick";
import { chooseCode } from "./run/chooseCode";
import { showStatus } from "./status/show";
import { keepFiles } from "./vmTemplates";
import { vmDescription, vmIcon } from "./views/labels";

export const vmCommands: Feature = (core) =>
  vscode.Disposable.from(
    command(core, "vmpool.createVM", (given) => createVM(core, given)),
    command(core, "vmpool.listVMs", () => listVMs(core)),
    command(core, "vmpool.startVM", (...given) => startVMs(core, given)),
    command(core, "vmpool.stopVM", (...given) => stopVMs(core, given)),
    command(core, "vmpool.executeInVM", (given) => executeInVM(core, given)),
    command(core, "vmpool.vmStatus", (given) => vmStatus(core, given)),
    command(core, "vmpool.deleteVM", (...given) => deleteVMs(core, given)),
    command(core, "vmpool.batchExecute", (...given) => batchExecute(core, given)),
  );

async function createVM(core: Core, given: unknown): Promise<VM> {
  const client = await core.connection.client();
  const body = await askForVM(core, given);
  const vm = await withProgress(`Creating ${body.name}…`, (signal) =>
    client.request("post", "/api/vms/create", { body, signal }),
  );
  for (const warning of vm.warnings) core.log.warn(`${vm.name}: ${warning}`);
  vscode.window.setStatusBarMessage(`$(vm-running) ${vm.name} runs`, 5000);
  return vm;
}

/** All VMs to choose from; the chosen one's state is shown, and its buttons act at once. */
async function listVMs(core: Core): Promise<readonly VM[]> {
  await core.connection.client();
  const vms = await core.pool.loaded();
  const create: vscode.QuickPickItem = { label: "$(add) Create VM", alwaysShow: true };
  const chosen = await vscode.window.showQuickPick(
    [
      ...vms.map((vm) => ({
        vm,
        label: `$(${vmIcon(vm.status).name}) ${vm.name}`,
        description: vmDescription(vm, core.pool.figures.of(vm.id)),
      })),
      create,
    ],
    { title: `VMs: ${vms.length}`, placeHolder: "Show which VM?", matchOnDescription: true },
  );
  if (chosen && "vm" in chosen) await vmStatus(core, chosen.vm.id);
  else if (chosen) await vscode.commands.executeCommand("vmpool.createVM");
  return vms;
}

async function startVMs(core: Core, given: readonly unknown[]): Promise<void> {
  const vms = givenVMs(core, given);
  const wanted = { title: "Start which VM?", states: ["stopped", "error", "paused"] as const };
  await forEach(core, "Starting", vms.length > 0 ? vms : [await targetVM(core, undefined, wanted)], async (client, vm, signal) => {
    const verb = vm.status === "paused" ? "/api/vms/{vm_id}/resume" : "/api/vms/{vm_id}/start";
    await client.request("post", verb, { path: at(vm), signal });
  });
}

async function stopVMs(core: Core, given: readonly unknown[]): Promise<void> {
  const vms = givenVMs(core, given);
  const wanted = { title: "Stop which VM?", states: ["running", "paused"] as const, alwaysAsk: true };
  await forEach(core, "Stopping", vms.length > 0 ? vms : [await targetVM(core, undefined, wanted)], async (client, vm, signal) => {
    await client.request("post", "/api/vms/{vm_id}/stop", { path: at(vm), signal });
  });
}

async function executeInVM(core: Core, given: unknown): Promise<void> {
  const client = await core.connection.client();
  const vm = await targetVM(core, given, { title: "Execute in which VM?", states: ["running", "paused"] });
  const code = await chooseCode(vm.language);
  await withProgress(`${code.title} in ${vm.name}…`, (signal) => core.runs.go(client, { ...code, vms: [vm] }, signal));
}

async function batchExecute(core: Core, given: readonly unknown[]): Promise<void> {
  const client = await core.connection.client();
  const wanted = { title: "Execute in which VMs?", states: ["running", "paused"] as const, alwaysAsk: true };
  const vms = await targetVMs(core, given, wanted);
  const code = await chooseCode(vms[0]?.language ?? "bash");
  const title = `${code.title} in ${vms.length} VMs…`;
  await withProgress(title, (signal) => core.runs.go(client, { ...code, vms }, signal));
}

async function vmStatus(core: Core, given: unknown): Promise<void> {
  await core.connection.client();
  await core.pool.loaded();
  showStatus(core, givenVM(core, given));
}

async function deleteVMs(core: Core, given: readonly unknown[]): Promise<void> {
  const chosen = givenVMs(core, given);
  const vms = chosen.length > 0 ? chosen : [await targetVM(core, undefined, { title: "Delete which VM?", alwaysAsk: true })];
  const names = vms.map((vm) => vm.name).join(", ");
  const detail =
    "Files, snapshots and what runs go with it and cannot be brought back." +
    (vms.length === 1 ? " Its files kept as a template stay: a new VM can start from them." : "");
  const answer = await vscode.window.showWarningMessage(
    vms.length === 1 ? `Delete the VM “${names}”?` : `Delete these ${vms.length} VMs: ${names}?`,
    { modal: true, detail },
    "Delete",
    ...(vms.length === 1 ? ["Keep Its Files First"] : []),
  );
  if (answer === undefined) throw cancelled();
  const [only] = vms;
  if (answer === "Keep Its Files First" && only) await keepFiles(core, only);
  await forEach(core, "Deleting", vms, async (client, vm, signal) => {
    await client.request("delete", "/api/vms/{vm_id}", { path: at(vm), signal });
  });
}

/** Do one thing to each of these VMs at once; where it fails for some, the first failure is said. */
async function forEach(
  core: Core,
  doing: string,
  vms: readonly VM[],
  work: (client: PoolClient, vm: VM, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const client = await core.connection.client();
  const [first] = vms;
  const title = vms.length === 1 ? `${doing} ${first?.name ?? ""}…` : `${doing} ${vms.length} VMs…`;
  await withProgress(title, async (signal) => {
    const ends = await Promise.allSettled(vms.map((vm) => work(client, vm, signal)));
    const failed = ends.filter((end) => end.status === "rejected").map(({ reason }) => reason as Error);
    const telling = failed.find((error) => !(error instanceof PoolError && error.code === "vm_not_found"));
    if (telling) throw telling;
  });
}
