/** Ports of VMs: on this machine, and in a browser by a link. */
import * as vscode from "vscode";
import { at } from "../api/client";
import { cancelled } from "../api/problem";
import type { VM } from "../api/types";
import { command } from "../commands";
import type { Core, Feature } from "../core";
import { targetVM } from "../pick";
import { isNode } from "../views/nodes";
import { portOf } from "./forwards";

export const ports: Feature = (core) =>
  vscode.Disposable.from(
    command(core, "vmpool.forwardPort", (given, port) => forwardPort(core, given, port)),
    command(core, "vmpool.stopForwarding", (given) => stopForwarding(core, given)),
    command(core, "vmpool.copyPortAddress", (given) => copyAddress(core, given)),
    command(core, "vmpool.openPort", (given, port) => openPort(core, given, port)),
    core.pool.onDidChange(() => {
      if (core.pool.vms) core.forwards.keep(new Set(core.pool.vms.map((vm) => vm.id)));
    }),
  );

async function forwardPort(core: Core, given: unknown, port: unknown): Promise<number> {
  const [vm, remote] = await portOfVM(core, given, port, "Forward which port");
  const { localPort } = await core.forwards.add(vm.id, remote);
  const address = `http://localhost:${localPort}`;
  void vscode.window
    .showInformationMessage(`Port ${remote} of ${vm.name} is at localhost:${localPort}.`, "Open in Browser", "Copy Address")
    .then((chosen) => {
      if (chosen === "Open in Browser") void vscode.env.openExternal(vscode.Uri.parse(address));
      if (chosen === "Copy Address") void vscode.env.clipboard.writeText(`localhost:${localPort}`);
    });
  return localPort;
}

function stopForwarding(core: Core, given: unknown): void {
  if (isNode(given) && given.kind === "port") core.forwards.remove(given.vm.id, given.port);
}

async function copyAddress(core: Core, given: unknown): Promise<void> {
  if (!isNode(given) || given.kind !== "port") return;
  const { localPort } = await core.forwards.add(given.vm.id, given.port);
  await vscode.env.clipboard.writeText(`localhost:${localPort}`);
}

/** By a link of the server's: each port has a host of its own there, so that absolute paths and cookies work. */
async function openPort(core: Core, given: unknown, port: unknown): Promise<void> {
  const client = await core.connection.client();
  const [vm, remote] = await portOfVM(core, given, port, "Open which port");
  const { url } = await client.request("post", "/api/vms/{vm_id}/shares/{port}", { path: { ...at(vm), port: remote } });
  await vscode.env.openExternal(vscode.Uri.parse(url));
}

async function portOfVM(core: Core, given: unknown, port: unknown, title: string): Promise<[VM, number]> {
  if (isNode(given) && given.kind === "port") return [given.vm, given.port];
  const vm = await targetVM(core, given, { title: `${title} of which VM?`, states: ["running", "paused"] });
  const known = portOf(String(port));
  if (known !== null) return [vm, known];
  const chosen = await vscode.window.showInputBox({
    title: `${title} of ${vm.name}?`,
    prompt: "The number at which a program in the VM listens, also if only on its own loopback.",
    value: "8000",
    validateInput: (text) => (portOf(text) === null ? "A port is a number from 1 to 65535." : undefined),
  });
  const number = portOf(chosen ?? "");
  if (number === null) throw cancelled();
  return [vm, number];
}
