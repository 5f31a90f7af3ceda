/** “Search in VM”: grep runs there, and what it found is chosen from. */
import * as vscode from "vscode";
import { cancelled } from "../api/problem";
import type { VM } from "../api/types";
import { withProgress } from "../commands";
import type { Core } from "../core";
import { targetVM } from "../pick";
import { HOME, placeOf, vmUri } from "../vmUri";
import { quoted } from "../shellWord";
import { foundLines, type Line } from "./failures";

const MOST = 1_000;
const SECONDS = 60;

export async function searchInVM(core: Core, given: unknown): Promise<void> {
  const vm = await targetVM(core, given, { title: "Search in which VM?", states: ["running", "paused"] });
  const directory = given instanceof vscode.Uri ? placeOf(given).path : HOME;
  const pattern = await vscode.window.showInputBox({
    title: `Search in ${vm.name}`,
    prompt: `Lines of files below ${directory} that hold this text. Between slashes it is a pattern: /def \\w+/`,
  });
  if (!pattern) throw cancelled();
  const found = await withProgress(`Searching in ${vm.name}…`, (signal) => search(core, vm, directory, pattern, signal));
  if (found.length === 0) {
    void vscode.window.showInformationMessage(`Nothing below ${directory} in ${vm.name} holds “${pattern}”.`);
    return;
  }
  await choose(vm, directory, found);
}

async function search(core: Core, vm: VM, directory: string, pattern: string, signal: AbortSignal): Promise<Line[]> {
  const expression = /^\/(.+)\/$/.exec(pattern)?.[1];
  const how = expression === undefined ? `-F -e ${quoted(pattern)}` : `-E -e ${quoted(expression)}`;
  const client = await core.connection.client();
  const command = `grep -rnHIZ --exclude-dir=.git --exclude-dir=node_modules -m 100 ${how} -- ${quoted(directory)} | head -n ${MOST}`;
  const execution = await client.request("post", "/api/vms/{vm_id}/execute", {
    path: { vm_id: vm.id },
    body: { command, timeout: SECONDS, cancel_on_disconnect: true },
    signal,
  });
  const found = foundLines(execution.output ?? "", MOST);
  if (found.length === 0 && execution.error) throw new Error(`grep in ${vm.name}: ${execution.error.trim().slice(0, 300)}`);
  return found;
}

/** Moving through what was found shows each; Enter opens it. */
async function choose(vm: VM, directory: string, found: readonly Line[]): Promise<void> {
  const items = found.map((line) => ({
    label: line.text.trim() || "(blank)",
    description: `${line.path.startsWith(`${directory}/`) ? line.path.slice(directory.length + 1) : line.path}:${line.line}`,
    line,
  }));
  const chosen = await vscode.window.showQuickPick(items, {
    title: `${found.length === MOST ? "The first " : ""}${found.length} lines in ${vm.name}`,
    matchOnDescription: true,
    onDidSelectItem: (item) => void show(vm, (item as (typeof items)[number]).line, true),
  });
  if (chosen) await show(vm, chosen.line, false);
}

async function show(vm: VM, { path, line }: Line, preview: boolean): Promise<void> {
  const place = new vscode.Position(line - 1, 0);
  await vscode.window.showTextDocument(vmUri(vm, path), {
    selection: new vscode.Range(place, place),
    preserveFocus: preview,
    preview,
  });
}
