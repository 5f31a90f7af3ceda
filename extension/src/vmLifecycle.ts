/** What else is done with a VM, its snapshots and executions. */
import * as vscode from "vscode";
import { at } from "./api/client";
import { cancelled } from "./api/problem";
import type { Snapshot, VM, VMState } from "./api/types";
import { command, withProgress } from "./commands";
import type { Core, Feature } from "./core";
import { sizeOf } from "./sizes";
import { targetVM } from "./pick";
import { bytes } from "./views/labels";
import { isNode } from "./views/nodes";

export const lifecycleCommands: Feature = (core) =>
  vscode.Disposable.from(
    command(core, "vmpool.pauseVM", (given) => change(core, given, "pause", "Pausing", ["running"])),
    command(core, "vmpool.resumeVM", (given) => change(core, given, "resume", "Resuming", ["paused"])),
    command(core, "vmpool.restartVM", (given) => change(core, given, "restart", "Restarting", ["running", "paused"])),
    command(core, "vmpool.snapshotVM", (given) => snapshotVM(core, given)),
    command(core, "vmpool.forkVM", (given) => forkVM(core, given)),
    command(core, "vmpool.changeLimits", (given) => changeLimits(core, given)),
    command(core, "vmpool.copyVMName", async (given) => {
      const vm = await targetVM(core, given, { title: "Copy which VM's name?" });
      await vscode.env.clipboard.writeText(vm.name);
    }),
    command(core, "vmpool.restoreSnapshot", (given) => restoreSnapshot(core, given)),
    command(core, "vmpool.deleteSnapshot", (given) => deleteSnapshot(core, given)),
    command(core, "vmpool.cancelExecution", (given) => cancelExecution(core, given)),
    command(core, "vmpool.showExecution", (given) => showExecution(core, given)),
  );

async function change(
  core: Core,
  given: unknown,
  verb: "pause" | "resume" | "restart",
  doing: string,
  states: readonly VMState[],
): Promise<void> {
  const client = await core.connection.client();
  const vm = await targetVM(core, given, { title: `${doing}: which VM?`, states });
  await withProgress(`${doing} ${vm.name}…`, (signal) =>
    client.request("post", `/api/vms/{vm_id}/${verb}`, { path: at(vm), signal }),
  );
}

async function snapshotVM(core: Core, given: unknown): Promise<Snapshot> {
  const client = await core.connection.client();
  const vm = await targetVM(core, given, { title: "Snapshot of which VM?", states: ["running", "paused", "stopped"] });
  const name = await vscode.window.showInputBox({
    title: `Snapshot of ${vm.name}`,
    prompt: "Its name. Left empty, it is named by the time.",
  });
  if (name === undefined) throw cancelled();
  return await takeSnapshot(core, vm, name, (signal, body) =>
    client.request("post", "/api/vms/{vm_id}/snapshot", { path: at(vm), body, signal }),
  );
}

async function takeSnapshot(
  core: Core,
  vm: VM,
  name: string,
  ask: (signal: AbortSignal, body: { name?: string }) => Promise<Snapshot>,
): Promise<Snapshot> {
  const snapshot = await withProgress(`Keeping the files of ${vm.name}…`, (signal) => ask(signal, name ? { name } : {}));
  core.log.info(`snapshot ${snapshot.name} of ${vm.name}: ${bytes(snapshot.size)}`);
  vscode.window.setStatusBarMessage(`$(device-camera) ${snapshot.name} is kept`, 5000);
  return snapshot;
}

async function forkVM(core: Core, given: unknown): Promise<void> {
  const client = await core.connection.client();
  const vm = await targetVM(core, given, { title: "Copy which VM?", states: ["running", "paused", "stopped"] });
  const text = await vscode.window.showInputBox({
    title: `Copies of ${vm.name}`,
    prompt: "How many? Each is a VM of its own, with the files as they are now.",
    value: "1",
    validateInput: (value) => (/^[1-9][0-9]?$|^100$/.test(value) ? undefined : "A number from 1 to 100."),
  });
  if (text === undefined) throw cancelled();
  const body = { count: Number(text) };
  await withProgress(`Copying ${vm.name}…`, (signal) =>
    client.request("post", "/api/vms/{vm_id}/fork", { path: at(vm), body, signal }),
  );
}

async function changeLimits(core: Core, given: unknown): Promise<void> {
  const client = await core.connection.client();
  const vm = await targetVM(core, given, { title: "Change the limits of which VM?" });
  const text = await vscode.window.showInputBox({
    title: `Limits of ${vm.name}: cores, memory in MB, disk in MB`,
    value: `${vm.cpu_limit}, ${vm.memory_limit}, ${vm.disk_limit}`,
    validateInput: (value) => (sizeOf(value) ? undefined : "Three numbers, for example: 1.5, 1024, 2048"),
  });
  const size = sizeOf(text ?? "");
  if (!size) throw cancelled();
  const body = {
    ...(size.cpu_limit === vm.cpu_limit ? {} : { cpu_limit: size.cpu_limit }),
    ...(size.memory_limit === vm.memory_limit ? {} : { memory_limit: size.memory_limit }),
    ...(size.disk_limit === vm.disk_limit ? {} : { disk_limit: size.disk_limit }),
  };
  if (Object.keys(body).length === 0) return;
  await withProgress(`Changing the limits of ${vm.name}…`, (signal) =>
    client.request("patch", "/api/vms/{vm_id}", { path: at(vm), body, signal }),
  );
}

/** The snapshot at which a command was begun, or one that is chosen. */
async function targetSnapshot(core: Core, given: unknown, title: string): Promise<{ vm: VM; snapshot: Snapshot }> {
  await core.connection.client();
  if (isNode(given) && given.kind === "snapshot") return given;
  const vm = await targetVM(core, given, { title: `${title}: of which VM?` });
  const snapshots = await core.pool.snapshots(vm.id);
  if (snapshots.length === 0) throw new Error(`${vm.name} has no snapshot yet. Take one first.`);
  const items = snapshots.map((snapshot) => ({
    snapshot,
    label: snapshot.name,
    description: `${new Date(snapshot.created_at).toLocaleString()}, ${bytes(snapshot.size)}`,
  }));
  const chosen = await vscode.window.showQuickPick(items, { title });
  if (!chosen) throw cancelled();
  return { vm, snapshot: chosen.snapshot };
}

async function restoreSnapshot(core: Core, given: unknown): Promise<void> {
  const client = await core.connection.client();
  const { vm, snapshot } = await targetSnapshot(core, given, "Restore which snapshot?");
  const answer = await vscode.window.showWarningMessage(
    `Put the files of “${vm.name}” back to the snapshot “${snapshot.name}”?`,
    { modal: true, detail: "What has changed since then is lost, and what runs is ended. A snapshot of now lets you go back." },
    "Snapshot Now, Then Restore",
    "Restore",
  );
  if (answer === undefined) throw cancelled();
  if (answer !== "Restore") {
    await takeSnapshot(core, vm, "", (signal, body) =>
      client.request("post", "/api/vms/{vm_id}/snapshot", { path: at(vm), body, signal }),
    );
  }
  await withProgress(`Restoring ${vm.name}…`, (signal) =>
    client.request("post", "/api/vms/{vm_id}/restore", { path: at(vm), body: { snapshot_id: snapshot.id }, signal }),
  );
}

async function deleteSnapshot(core: Core, given: unknown): Promise<void> {
  const client = await core.connection.client();
  const { vm, snapshot } = await targetSnapshot(core, given, "Delete which snapshot?");
  const detail = "The files it keeps cannot be brought back.";
  const answer = await vscode.window.showWarningMessage(
    `Delete the snapshot “${snapshot.name}” of “${vm.name}”?`,
    { modal: true, detail },
    "Delete",
  );
  if (answer === undefined) throw cancelled();
  await client.request("delete", "/api/vms/{vm_id}/snapshots/{snapshot_id}", {
    path: { vm_id: vm.id, snapshot_id: snapshot.id },
  });
}

async function cancelExecution(core: Core, given: unknown): Promise<void> {
  const client = await core.connection.client();
  if (!isNode(given) || given.kind !== "execution") throw new Error("Choose an execution that runs, in the tree of VMs.");
  const { vm, execution } = given;
  await withProgress("Ending it, with all it started…", (signal) =>
    client.request("post", "/api/vms/{vm_id}/executions/{execution_id}/cancel", {
      path: { vm_id: vm.id, execution_id: execution.id },
      signal,
    }),
  );
}

/** An execution's code and output, as a document that is not kept. */
async function showExecution(core: Core, given: unknown): Promise<void> {
  const client = await core.connection.client();
  if (!isNode(given) || given.kind !== "execution") throw new Error("Choose an execution, in the tree of VMs.");
  const execution = await client.request("get", "/api/vms/{vm_id}/executions/{execution_id}", {
    path: { vm_id: given.vm.id, execution_id: given.execution.id },
  });
  const parts = [execution.code, "", `── ${execution.state}`, execution.output ?? "", execution.error ?? ""];
  const document = await vscode.workspace.openTextDocument({ content: parts.join("\n"), language: "log" });
  await vscode.window.showTextDocument(document, { preview: true });
}
