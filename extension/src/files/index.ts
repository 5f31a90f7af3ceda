/** Files of VMs: as a file system of the editor, as folders of the workspace, and searched. */
import * as vscode from "vscode";
import { command } from "../commands";
import type { Core, Feature } from "../core";
import { targetVM } from "../pick";
import { isNode } from "../views/nodes";
import { HOME, SCHEME, vmUri } from "../vmUri";
import { VMFiles } from "./provider";
import { searchInVM } from "./search";

/** Milliseconds after the end of an execution before open documents are looked at: several end at once. */
const GATHERED = 300;

export const files: Feature = (core) => {
  const provider = new VMFiles(core);
  return vscode.Disposable.from(
    provider,
    vscode.workspace.registerFileSystemProvider(SCHEME, provider, { isCaseSensitive: true }),
    command(core, "vmpool.openFolder", (given) => openFolder(core, given)),
    command(core, "vmpool.openFile", (given) => openFile(core, given)),
    command(core, "vmpool.searchInVM", (given) => searchInVM(core, given)),
    refreshing(core, provider),
    core.pool.onDidHear((event) => {
      const vm = event.type === "vm.running" && event.vm_id !== null ? core.pool.vm(event.vm_id) : undefined;
      if (vm) provider.revive(vm.name);
    }),
    core.pool.onDidChange((change) => {
      if (change !== "all" || core.pool.trouble !== null) return; // the server is there, perhaps again
      for (const vm of core.pool.running()) provider.revive(vm.name);
    }),
  );
};

/** A VM's home, or the directory that was chosen in the tree, as a folder of this workspace. */
async function openFolder(core: Core, given: unknown): Promise<void> {
  const vm = await targetVM(core, given, { title: "Open the files of which VM?", states: ["running", "paused"] });
  const path = isNode(given) && given.kind === "file" ? given.path : HOME;
  const uri = vmUri(vm, path);
  const folders = vscode.workspace.workspaceFolders ?? [];
  if (folders.some((folder) => folder.uri.toString() === uri.toString())) {
    await vscode.commands.executeCommand("workbench.view.explorer");
    return;
  }
  // The first folder of an empty window restarts the extensions, so it becomes a window of its own kind.
  const name = path === HOME ? vm.name : `${vm.name}: ${path.slice(path.lastIndexOf("/") + 1)}`;
  if (!vscode.workspace.updateWorkspaceFolders(folders.length, 0, { uri, name })) {
    throw new Error("The editor did not take the folder: close the workspace and try again.");
  }
  await vscode.commands.executeCommand("workbench.view.explorer");
}

async function openFile(core: Core, given: unknown): Promise<void> {
  if (isNode(given) && given.kind === "file") {
    await vscode.commands.executeCommand("vscode.open", vmUri(given.vm, given.path));
    return;
  }
  const vm = await targetVM(core, given, { title: "Open a file of which VM?", states: ["running", "paused"] });
  const chosen = await vscode.window.showInputBox({ title: `Open a file of ${vm.name}`, value: `${HOME}/`, valueSelection: [HOME.length + 1, HOME.length + 1] });
  if (chosen) await vscode.commands.executeCommand("vscode.open", vmUri(vm, chosen.startsWith("/") ? chosen : `${HOME}/${chosen}`));
}

/** The end of an execution is when files change. */
function refreshing(core: Core, provider: VMFiles): vscode.Disposable {
  const changed = new Set<number>();
  let timer: NodeJS.Timeout | undefined;
  const hearing = core.pool.onDidHear((event) => {
    if (event.type !== "execution.finished" || event.vm_id === null) return;
    changed.add(event.vm_id);
    timer ??= setTimeout(() => {
      timer = undefined;
      for (const id of changed) {
        const vm = core.pool.vm(id);
        if (vm) provider.changedIn(vm.name);
      }
      changed.clear();
    }, GATHERED);
  });
  return new vscode.Disposable(() => {
    clearTimeout(timer);
    hearing.dispose();
  });
}
