/** Terminals in VMs: the command, and a profile for the editor's own list. */
import * as vscode from "vscode";
import type { VM } from "../api/types";
import { command } from "../commands";
import type { Core, Feature } from "../core";
import { targetVM } from "../pick";
import { VMTerminal } from "./pseudoterminal";

export const terminals: Feature = (core) =>
  vscode.Disposable.from(
    command(core, "vmpool.openTerminal", async (given) => {
      vscode.window.createTerminal(options(core, await wanted(core, given))).show();
    }),
    vscode.window.registerTerminalProfileProvider("vmpool.terminal", {
      provideTerminalProfile: async () => new vscode.TerminalProfile(options(core, await wanted(core, undefined))),
    }),
  );

function wanted(core: Core, given: unknown): Promise<VM> {
  return targetVM(core, given, { title: "A terminal in which VM?", states: ["running", "paused"] });
}

function options(core: Core, vm: VM): vscode.ExtensionTerminalOptions {
  const iconPath = new vscode.ThemeIcon("vm");
  return { name: vm.name, iconPath, pty: new VMTerminal(() => core.connection.client(), vm) };
}
