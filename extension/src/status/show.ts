/** What the command “VM Status” shows: one panel, which is kept. */
import * as vscode from "vscode";
import type { VM } from "../api/types";
import type { Core } from "../core";
import { StatusPanel } from "./panel";

const open = new WeakMap<Core, StatusPanel>();

/** vm: the one whose executions and logs are shown; undefined: the pool. */
export function showStatus(core: Core, vm: VM | undefined): void {
  let status = open.get(core);
  if (!status) {
    const panel = vscode.window.createWebviewPanel("vmpool.status", "VM Status", vscode.ViewColumn.Active);
    const made = (status = new StatusPanel(core, panel));
    open.set(core, made);
    const closing = panel.onDidDispose(() => {
      open.delete(core);
      made.dispose();
      closing.dispose();
    });
    core.context.subscriptions.push(panel);
  }
  status.show(vm?.id ?? null);
}
