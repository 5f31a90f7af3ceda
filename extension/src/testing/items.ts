/** The workspace's tests as items of the editor: files, classes, functions. */
import * as vscode from "vscode";
import { isTestFile, testsOf, type Found } from "./discover";
import type { Job } from "./shards";

const PATTERN = "**/{test_*,*_test}.py";
const LEFT_OUT = "**/{node_modules,.venv,venv,.tox,.nox,site-packages,__pycache__,build,dist}/**";

export class Items {
  constructor(private readonly controller: vscode.TestController) {}

  /** All test files of the workspace that are here. */
  async discover(): Promise<void> {
    const found = await vscode.workspace.findFiles(PATTERN, LEFT_OUT);
    await Promise.all(found.filter(({ scheme }) => scheme === "file").map((uri) => this.read(uri)));
  }

  /** Look at a file again; one that is gone, or has no tests, has no item. */
  async read(uri: vscode.Uri): Promise<void> {
    if (!isTestFile(uri.path)) return;
    try {
      this.set(uri, new TextDecoder().decode(await vscode.workspace.fs.readFile(uri)));
    } catch (error) {
      if (!(error instanceof vscode.FileSystemError)) throw error;
      this.controller.items.delete(uri.toString());
    }
  }

  set(uri: vscode.Uri, text: string): void {
    const tests = testsOf(text);
    if (tests.length === 0) {
      this.controller.items.delete(uri.toString());
      return;
    }
    const path = vscode.workspace.asRelativePath(uri, false);
    const item = this.controller.items.get(uri.toString()) ?? this.controller.createTestItem(uri.toString(), path, uri);
    item.children.replace(tests.map((found) => this.made(uri, uri.toString(), found)));
    this.controller.items.add(item);
  }

  private made(uri: vscode.Uri, above: string, found: Found): vscode.TestItem {
    const item = this.controller.createTestItem(`${above}::${found.name}`, found.name, uri);
    item.range = new vscode.Range(found.line, 0, found.line, 0);
    item.children.replace(found.children.map((child) => this.made(uri, item.id, child)));
    return item;
  }
}

/** What is asked for, by folder and file; items that are left out are, with all below them. */
export function jobsOf(controller: vscode.TestController, request: vscode.TestRunRequest): Map<vscode.WorkspaceFolder, { job: Job; items: vscode.TestItem[] }[]> {
  const excluded = new Set(request.exclude?.map((item) => item.id));
  const wanted = new Map<string, vscode.TestItem[]>();
  const add = (item: vscode.TestItem) => {
    if (excluded.has(item.id)) return;
    const hasExcluded = [...excluded].some((id) => id.startsWith(`${item.id}::`));
    if (hasExcluded) {
      item.children.forEach(add);
      return;
    }
    const file = item.uri?.toString() ?? "";
    wanted.set(file, [...(wanted.get(file) ?? []), item]);
  };
  for (const item of request.include ?? [...controller.items].map(([, one]) => one)) add(item);
  const found = new Map<vscode.WorkspaceFolder, { job: Job; items: vscode.TestItem[] }[]>();
  for (const items of wanted.values()) {
    const uri = items[0]?.uri;
    const folder = uri && vscode.workspace.getWorkspaceFolder(uri);
    if (!folder) continue;
    const file = uri.path.slice(folder.uri.path.length + 1);
    const nodes = items.map((item) => file + item.id.slice(uri.toString().length));
    const job = { file, nodes: nodes.includes(file) ? [file] : nodes };
    found.set(folder, [...(found.get(folder) ?? []), { job, items }]);
  }
  return found;
}

/** An item and all below it that are tests themselves. */
export function leavesOf(item: vscode.TestItem): vscode.TestItem[] {
  if (item.children.size === 0) return [item];
  return [...item.children].flatMap(([, child]) => leavesOf(child));
}
