/** The tree of VMs in its view: what stands below what, and when it is drawn again. */
import * as vscode from "vscode";
import { command } from "../commands";
import type { Core, Feature } from "../core";
import { words } from "../api/problem";
import type { VM } from "../api/types";
import type { Connection } from "../connection";
import type { Subscription } from "../emitter";
import type { Change, Pool } from "../pool/pool";
import { HOME } from "../vmUri";
import { Dropping } from "./dropping";
import { FileLists } from "./fileLists";
import { itemOf } from "./items";
import { GROUPS, idOf, isNode } from "./nodes";
import type { Group, Node } from "./nodes";

export const VIEW = "vmpool.vms";

export const treeView: Feature = (core) => {
  const tree = new Tree(core);
  const view = vscode.window.createTreeView(VIEW, {
    treeDataProvider: tree,
    dragAndDropController: new Dropping(core, (node) => tree.refreshFiles(node)),
    showCollapseAll: true,
    canSelectMany: true,
  });
  const marked = view.onDidChangeSelection(({ selection }) => (core.selection.nodes = selection));
  const refresh = command(core, "vmpool.refreshFiles", (given) => {
    if (isNode(given)) tree.refreshFiles(given);
  });
  return vscode.Disposable.from(view, marked, tree, refresh, new Attention(core, view));
};

export class Tree implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly changes = new vscode.EventEmitter<Node | undefined>();
  readonly onDidChangeTreeData = this.changes.event;
  private readonly lists = new FileLists();
  private readonly subscriptions: readonly Subscription[];
  /** The very nodes the editor was given: it knows them by identity when one is to be drawn again. */
  private readonly given = new Map<number, Node & { kind: "vm" }>();

  constructor(private readonly core: Core) {
    this.subscriptions = [
      core.pool.onDidChange((change) => this.follow(change)),
      core.forwards.onDidChange((vmId) => this.follow(new Set([vmId]))),
      core.pool.onDidHear((event) => this.lists.hear(event)),
    ];
  }

  getTreeItem(node: Node): vscode.TreeItem {
    const item = itemOf(node, this.core.pool.figures.of(node.vm.id));
    item.id = idOf(node);
    return item;
  }

  getParent(node: Node): Node | undefined {
    switch (node.kind) {
      case "vm":
        return undefined;
      case "group":
      case "note":
        return this.given.get(node.vm.id);
      case "execution":
        return { kind: "group", vm: node.vm, group: "executions" };
      case "snapshot":
        return { kind: "group", vm: node.vm, group: "snapshots" };
      case "port":
        return { kind: "group", vm: node.vm, group: "ports" };
      case "file":
        return { kind: "group", vm: node.vm, group: "files" };
    }
  }

  async getChildren(node?: Node): Promise<Node[]> {
    if (node === undefined) return this.roots();
    const vm = this.core.pool.vm(node.vm.id) ?? node.vm;
    if (node.kind === "vm") return GROUPS.filter((group) => has(vm, group)).map((group) => ({ kind: "group", vm, group }));
    try {
      if (node.kind === "group") return await this.members(vm, node.group);
      if (node.kind === "file") return await this.files(vm, node.path);
    } catch (error) {
      return [{ kind: "note", vm, id: idOf(node), text: words(error) }];
    }
    return [];
  }

  /** Look at a VM's files again. */
  refreshFiles(node: Node): void {
    this.lists.forget(node.vm.id);
    this.changes.fire(this.given.get(node.vm.id));
  }

  dispose(): void {
    for (const one of this.subscriptions) one.dispose();
    this.changes.dispose();
  }

  private roots(): Node[] {
    const vms = this.core.pool.vms ?? [];
    this.given.clear();
    for (const vm of vms) this.given.set(vm.id, { kind: "vm", vm });
    return [...this.given.values()];
  }

  private async members(vm: VM, group: Group): Promise<Node[]> {
    const { pool } = this.core;
    switch (group) {
      case "executions":
        return orNote(
          vm,
          (await pool.executions(vm.id)).map((execution): Node => ({ kind: "execution", vm, execution })),
          "Nothing has run yet",
        );
      case "snapshots":
        return orNote(
          vm,
          (await pool.snapshots(vm.id)).map((snapshot): Node => ({ kind: "snapshot", vm, snapshot })),
          "No snapshot yet",
        );
      case "ports":
        return orNote(
          vm,
          this.core.forwards.of(vm.id).map(({ port, localPort }): Node => ({ kind: "port", vm, port, localPort })),
          "No port is forwarded",
        );
      case "files":
        return await this.files(vm, HOME);
    }
  }

  private async files(vm: VM, path: string): Promise<Node[]> {
    const client = await this.core.connection.client();
    const found = await this.lists.of(client, vm.id, path);
    return orNote(
      vm,
      found.map((info): Node => ({ kind: "file", vm, path: `${path}/${info.name}`, info })),
      "Empty",
    );
  }

  private follow(change: Change): void {
    const vms = this.core.pool.vms ?? [];
    const same = vms.length === this.given.size && vms.every((vm) => this.given.has(vm.id));
    if (change === "all") this.lists.clear();
    if (change === "all" || !same) {
      this.changes.fire(undefined);
      return;
    }
    for (const id of change) {
      const node = this.given.get(id);
      const vm = this.core.pool.vm(id);
      if (!node || !vm) continue;
      Object.assign(node, { vm }); // the node stays, what it shows is new
      this.changes.fire(node);
    }
  }
}

/** Figures are read, and a server looked for, only while the view is seen; its message says what is wrong. */
class Attention implements vscode.Disposable {
  private readonly subscriptions: readonly Subscription[];
  private looking: Subscription | null = null;

  constructor(core: Core, view: vscode.TreeView<Node>) {
    const { connection, pool } = core;
    this.subscriptions = [
      view.onDidChangeVisibility(() => this.see(view.visible, connection, pool)),
      connection.onDidChange(() => this.tell(view, connection, pool)),
      pool.onDidChange(() => this.tell(view, connection, pool)),
    ];
    this.see(view.visible, connection, pool);
    this.tell(view, connection, pool);
  }

  dispose(): void {
    this.looking?.dispose();
    for (const one of this.subscriptions) one.dispose();
  }

  private see(visible: boolean, connection: Connection, pool: Pool): void {
    this.looking?.dispose();
    this.looking = visible ? pool.figures.watch() : null;
    if (visible && connection.state.kind === "noServer") void connection.connect();
  }

  private tell(view: vscode.TreeView<Node>, connection: Connection, pool: Pool): void {
    const { state } = connection;
    void vscode.commands.executeCommand("setContext", "vmpool.state", state.kind);
    void vscode.commands.executeCommand("setContext", "vmpool.empty", pool.vms?.length === 0);
    const trouble = state.kind === "connected" ? pool.trouble : null;
    const message = trouble === null ? undefined : `${words(trouble)} What is shown may be old.`;
    if (view.message !== message) view.message = message as string;
    const { status, vms } = pool;
    view.description = status === null || vms === null ? "" : `${vms.length} of ${status.limits.max_vms_per_user}`;
  }
}

/** A VM that does not run has no ports, and a stopped one no files to look at. */
function has(vm: VM, group: Group): boolean {
  switch (group) {
    case "executions":
    case "snapshots":
      return true;
    case "ports":
    case "files":
      return vm.status === "running";
  }
}

function orNote(vm: VM, nodes: Node[], text: string): Node[] {
  return nodes.length > 0 ? nodes : [{ kind: "note", vm, id: text, text }];
}
