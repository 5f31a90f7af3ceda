/** Terminals in VMs: the command, and a profile for the editor's own list. */
import * as vscode from "vscode";
import type { VM } from "../api/types";
import { command } from "../commands";
import type { Core, Feature } from "../core";
import { targetVM } from "../pick";
import { HOME, vmUri } from "../vmUri";
import { placesIn, type PlaceLink } from "../problems/links";
import { VMTerminal } from "./pseudoterminal";

export const terminals: Feature = (core) =>
  vscode.Disposable.from(
    command(core, "vmpool.openTerminal", async (given) => {
      vscode.window.createTerminal(options(core, await wanted(core, given))).show();
    }),
    vscode.window.registerTerminalProfileProvider("vmpool.terminal", {
      provideTerminalProfile: async () => new vscode.TerminalProfile(options(core, await wanted(core, undefined))),
    }),
    vscode.window.registerTerminalLinkProvider(new Links()),
  );

function wanted(core: Core, given: unknown): Promise<VM> {
  return targetVM(core, given, { title: "A terminal in which VM?", states: ["running", "paused"] });
}

function options(core: Core, vm: VM): vscode.ExtensionTerminalOptions {
  const iconPath = new vscode.ThemeIcon("vm");
  return { name: vm.name, iconPath, pty: new VMTerminal(() => core.connection.client(), vm) };
}

class Link extends vscode.TerminalLink {
  constructor(
    readonly vm: VM,
    readonly place: PlaceLink,
  ) {
    super(place.start, place.length, `Open in ${vm.name}`);
  }
}

/** Places in files, in terminals of VMs only: they are the VM's files. */
class Links implements vscode.TerminalLinkProvider<Link> {
  provideTerminalLinks({ line, terminal }: vscode.TerminalLinkContext): Link[] {
    const pty = "pty" in terminal.creationOptions ? terminal.creationOptions.pty : null;
    if (!(pty instanceof VMTerminal)) return [];
    return placesIn(line).map((place) => new Link(pty.vm, place));
  }

  async handleTerminalLink({ vm, place }: Link): Promise<void> {
    const path = place.path.startsWith("/") ? place.path : `${HOME}/${place.path.replace(/^\.\//, "")}`;
    const at = new vscode.Position(place.line - 1, place.column - 1);
    await vscode.window.showTextDocument(vmUri(vm, path), { selection: new vscode.Range(at, at) });
  }
}
