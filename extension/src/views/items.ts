/** The editor's own items, from what the tree is made of. */
import * as vscode from "vscode";
import type { VMStatus } from "../api/types";
import { vmUri } from "../vmUri";
import {
  bytes,
  executionDescription,
  executionIcon,
  executionLabel,
  vmDescription,
  vmIcon,
  vmTooltip,
} from "./labels";
import type { Icon } from "./labels";
import type { Group, Node } from "./nodes";

const { Collapsed, None } = vscode.TreeItemCollapsibleState;

const GROUP_LOOKS: Readonly<Record<Group, { readonly label: string; readonly icon: string }>> = {
  executions: { label: "Executions", icon: "history" },
  snapshots: { label: "Snapshots", icon: "device-camera" },
  ports: { label: "Ports", icon: "plug" },
  files: { label: "Files", icon: "files" },
};

/** contextValue: what menus in package.json ask for, as `vm.running`, `execution.finished` and so on. */
export function itemOf(node: Node, figures: VMStatus | undefined): vscode.TreeItem {
  switch (node.kind) {
    case "vm": {
      const { vm } = node;
      const item = made(vm.name, Collapsed, vmIcon(vm.status), `vm.${vm.status}`);
      item.description = vmDescription(vm, figures);
      item.tooltip = new vscode.MarkdownString(vmTooltip(vm, figures));
      item.accessibilityInformation = { label: `VM ${vm.name}, ${vm.status}, ${item.description}`, role: "treeitem" };
      return item;
    }
    case "group": {
      const { label, icon } = GROUP_LOOKS[node.group];
      return made(label, Collapsed, { name: icon }, `group.${node.group}`);
    }
    case "execution": {
      const { execution } = node;
      const item = made(executionLabel(execution), None, executionIcon(execution), `execution.${execution.state}`);
      item.description = executionDescription(execution);
      item.tooltip = `${execution.language}, ${new Date(execution.executed_at).toLocaleString()}\n\n${execution.code.slice(0, 2000)}`;
      item.accessibilityInformation = { label: `${executionLabel(execution)}, ${item.description}`, role: "treeitem" };
      item.command = { command: "vmpool.showExecution", title: "Show Output", arguments: [node] };
      return item;
    }
    case "snapshot": {
      const { snapshot } = node;
      const item = made(snapshot.name, None, { name: "device-camera" }, "snapshot");
      item.description = `${new Date(snapshot.created_at).toLocaleString()}, ${bytes(snapshot.size)}`;
      return item;
    }
    case "port":
      return portItem(node);
    case "file": {
      const isDirectory = node.info.kind === "directory";
      const item = made(node.info.name, isDirectory ? Collapsed : None, null, isDirectory ? "directory" : "file");
      item.resourceUri = vmUri(node.vm, node.path);
      item.iconPath = isDirectory ? vscode.ThemeIcon.Folder : vscode.ThemeIcon.File;
      if (!isDirectory) item.command = { command: "vscode.open", title: "Open", arguments: [item.resourceUri] };
      return item;
    }
    case "note":
      return made(node.text, None, null, "note");
  }
}

function portItem(node: Node & { readonly kind: "port" }): vscode.TreeItem {
  const { port, localPort } = node;
  const item = made(String(port), None, { name: "plug" }, localPort === null ? "port" : "port.forwarded");
  item.description = localPort === null ? "listens" : `→ localhost:${localPort}`;
  return item;
}

function made(
  label: string,
  state: vscode.TreeItemCollapsibleState,
  icon: Icon | null,
  contextValue: string,
): vscode.TreeItem {
  const item = new vscode.TreeItem(label, state);
  item.contextValue = contextValue;
  if (icon) {
    const color = icon.color === undefined ? undefined : new vscode.ThemeColor(icon.color);
    item.iconPath = new vscode.ThemeIcon(icon.name, color);
  }
  return item;
}
