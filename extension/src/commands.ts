/** Commands whose failures are said, each with buttons for what to do next. */
import * as vscode from "vscode";
import { PoolError, Unreachable, isCancelled, words } from "./api/problem";
import type { Remedy } from "./api/problem";
import type { CommandId } from "./commandIds";
import { NotConnected } from "./connection";
import type { ConnectionState } from "./connection";
import type { Core } from "./core";

const BUTTONS: Readonly<Record<Remedy, { readonly label: string; readonly command: CommandId }>> = {
  signIn: { label: "Enter API Key", command: "vmpool.signIn" },
  startServer: { label: "Start Server", command: "vmpool.startServer" },
  chooseServer: { label: "Choose Server", command: "vmpool.chooseServer" },
  showLog: { label: "Show Log", command: "vmpool.showLog" },
  listVMs: { label: "List VMs", command: "vmpool.listVMs" },
  deleteVM: { label: "Delete a VM", command: "vmpool.deleteVM" },
};

/** Register a command.  What it throws is said to the user; a cancellation is silence. */
export function command(
  core: Core,
  id: CommandId,
  run: (...given: unknown[]) => unknown,
): vscode.Disposable {
  return vscode.commands.registerCommand(id, async (...given: unknown[]) => {
    try {
      return await run(...given);
    } catch (error) {
      void report(core, error); // the command has ended, whenever its message is closed
      return undefined;
    }
  });
}

/** Say what went wrong, with what can be done about it. */
export async function report(core: Core, error: unknown): Promise<void> {
  if (isCancelled(error)) return;
  const id = error instanceof PoolError && error.requestId ? ` [${error.code}, request ${error.requestId}]` : "";
  core.log.error(words(error) + id);
  const buttons = remediesOf(error).map((remedy) => BUTTONS[remedy]);
  const chosen = await vscode.window.showErrorMessage(sentence(words(error)), ...buttons.map(({ label }) => label));
  const found = buttons.find(({ label }) => label === chosen);
  if (found) await vscode.commands.executeCommand(found.command);
}

export function remediesOf(error: unknown): readonly Remedy[] {
  if (error instanceof NotConnected) return remediesOfState(error.state);
  if (error instanceof PoolError || error instanceof Unreachable) return error.remedies;
  return ["showLog"];
}

export function remediesOfState(state: ConnectionState): readonly Remedy[] {
  switch (state.kind) {
    case "noServer":
      return ["startServer", "chooseServer"];
    case "noKey":
      return ["signIn", "chooseServer"];
    case "badAddress":
      return ["chooseServer"];
    case "failed":
      return remediesOf(state.error);
    case "idle":
    case "connecting":
    case "connected":
      return [];
  }
}

/** The server's messages begin small and have no stop. */
export function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** Show that something goes on, in a notification that can cancel it. */
export async function withProgress<T>(title: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  return await vscode.window.withProgress(options, async (_, token) => {
    const stopping = new AbortController();
    const subscription = token.onCancellationRequested(() => stopping.abort());
    try {
      return await work(stopping.signal);
    } finally {
      subscription.dispose();
    }
  });
}
