/** Use against the limit in the status bar; it leads to the list of VMs, or to what helps where there is none. */
import * as vscode from "vscode";
import type { CommandId } from "../commandIds";
import { explained } from "../connection";
import type { Core, Feature } from "../core";
import { words } from "../api/problem";

interface Shown {
  readonly text: string;
  readonly tooltip: string;
  readonly command: CommandId;
  readonly warns?: boolean;
}

export const statusBar: Feature = (core) => {
  const item = vscode.window.createStatusBarItem("vmpool.use", vscode.StatusBarAlignment.Left, 50);
  item.name = "vmpool";
  const draw = () => {
    const { text, tooltip, command, warns } = shown(core);
    item.text = text;
    item.tooltip = tooltip;
    item.command = command;
    item.accessibilityInformation = { label: tooltip, role: "button" };
    item.backgroundColor = warns ? new vscode.ThemeColor("statusBarItem.warningBackground") : undefined;
    item.show();
  };
  draw();
  return vscode.Disposable.from(item, core.connection.onDidChange(draw), core.pool.onDidChange(draw));
};

function shown({ connection, pool }: Core): Shown {
  const { state } = connection;
  switch (state.kind) {
    case "idle":
    case "connecting":
      return { text: "$(vm) …", tooltip: explained(state), command: "vmpool.showLog" };
    case "noServer":
      return { text: "$(vm) No pool", tooltip: explained(state), command: "vmpool.startServer" };
    case "noKey":
      return { text: "$(key) Pool", tooltip: explained(state), command: "vmpool.signIn" };
    case "badAddress":
      return { text: "$(vm) No pool", tooltip: explained(state), command: "vmpool.chooseServer", warns: true };
    case "failed":
      return { text: "$(vm) No pool", tooltip: explained(state), command: "vmpool.reconnect", warns: true };
    case "connected":
      break;
  }
  const { vms, status, trouble } = pool;
  if (trouble !== null) {
    return { text: "$(vm) Pool away", tooltip: words(trouble), command: "vmpool.reconnect", warns: true };
  }
  if (vms === null || status === null) {
    return { text: "$(vm) …", tooltip: explained(state), command: "vmpool.showLog" };
  }
  const limit = status.limits.max_vms_per_user;
  const running = pool.running().length;
  const tooltip = `vmpool: ${vms.length} of ${limit} VMs, ${running} running; ${state.client.endpoint.url}`;
  return { text: `$(vm) ${vms.length}/${limit}`, tooltip, command: "vmpool.listVMs", warns: vms.length >= limit };
}
