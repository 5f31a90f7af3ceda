/** Files that are dropped on a VM, or on a directory of one, are copied there; files of VMs can be dragged out. */
import * as vscode from "vscode";
import { isCancelled } from "../api/problem";
import { report, withProgress } from "../commands";
import type { Core } from "../core";
import { HOME, vmUri } from "../vmUri";
import type { Node } from "./nodes";

const URIS = "text/uri-list";

export class Dropping implements vscode.TreeDragAndDropController<Node> {
  readonly dropMimeTypes = [URIS];
  readonly dragMimeTypes = [URIS];

  /** copied: told of the VM's node once its files are others. */
  constructor(
    private readonly core: Core,
    private readonly copied: (node: Node) => void,
  ) {}

  handleDrag(nodes: readonly Node[], data: vscode.DataTransfer): void {
    const uris = nodes.filter((node) => node.kind === "file").map((node) => vmUri(node.vm, node.path).toString());
    if (uris.length > 0) data.set(URIS, new vscode.DataTransferItem(uris.join("\r\n")));
  }

  async handleDrop(target: Node | undefined, data: vscode.DataTransfer): Promise<void> {
    const text = await data.get(URIS)?.asString();
    if (target === undefined || !text) return;
    const directory = directoryOf(target);
    try {
      await withProgress(`Copying to ${target.vm.name}…`, (signal) => copyAll(urisOf(text), target, directory, signal));
    } catch (error) {
      if (!isCancelled(error)) void report(this.core, error);
    }
    this.copied(target);
  }
}

/** Where something goes that is dropped here. */
export function directoryOf(node: Node): string {
  if (node.kind !== "file") return HOME;
  return node.info.kind === "directory" ? node.path : node.path.slice(0, node.path.lastIndexOf("/"));
}

/** The addresses of a list of them; its comments are left out (RFC 2483). */
export function urisOf(text: string): readonly string[] {
  return text.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#"));
}

async function copyAll(uris: readonly string[], { vm }: Node, directory: string, signal: AbortSignal): Promise<void> {
  for (const text of uris) {
    if (signal.aborted) return;
    const from = vscode.Uri.parse(text, true);
    const name = from.path.replace(/\/+$/, "").split("/").at(-1) ?? "";
    const to = vmUri(vm, `${directory}/${name}`);
    if (from.toString() !== to.toString()) await copy(from, to, name);
  }
}

/** Nothing is replaced unasked. */
async function copy(from: vscode.Uri, to: vscode.Uri, name: string): Promise<void> {
  try {
    await vscode.workspace.fs.copy(from, to, { overwrite: false });
  } catch (error) {
    if (!(error instanceof vscode.FileSystemError) || error.code !== "FileExists") throw error;
    const options = { modal: true, detail: "What it holds now is lost." };
    const answer = await vscode.window.showWarningMessage(`Replace “${name}” in the VM?`, options, "Replace");
    if (answer === "Replace") await vscode.workspace.fs.copy(from, to, { overwrite: true });
  }
}
