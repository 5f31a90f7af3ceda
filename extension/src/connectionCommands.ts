/** Finding, starting and choosing a server, and the key for it. */
import * as vscode from "vscode";
import { cancelled } from "./api/problem";
import { command, report, withProgress } from "./commands";
import { address, isExposed } from "./connection/choose";
import { CannotStart, commandPlaces, startServer } from "./connection/local";
import { NotConnected } from "./connection";
import type { ConnectionState } from "./connection";
import type { Core, Feature } from "./core";

export const connectionCommands: Feature = (core) =>
  vscode.Disposable.from(
    command(core, "vmpool.startServer", () => start(core)),
    command(core, "vmpool.chooseServer", () => chooseServer(core)),
    command(core, "vmpool.signIn", () => signIn(core)),
    command(core, "vmpool.signOut", () => signOut(core)),
    command(core, "vmpool.reconnect", async () => said(await core.connection.reconnect())),
    command(core, "vmpool.showLog", () => core.log.show()),
    vscode.workspace.onDidChangeConfiguration((event) => {
      const ours = ["vmpool.server", "vmpool.certificateAuthority"];
      if (ours.some((name) => event.affectsConfiguration(name))) void core.connection.reconnect();
    }),
    core.context.secrets.onDidChange(({ key }) => {
      if (key.startsWith("vmpool.key:")) void core.connection.reconnect();
    }),
    core.connection.onDidChange((state) => {
      if (state.kind === "noServer" && settings().get("startServer") === "always") void autostart(core);
    }),
  );

let hasAutostarted = false;

/** Once in an editor's life: a server that somebody stopped stays stopped. */
async function autostart(core: Core): Promise<void> {
  if (hasAutostarted) return;
  hasAutostarted = true;
  await start(core).catch((error: unknown) => report(core, error));
}

async function start(core: Core): Promise<void> {
  const { isTrusted, workspaceFolders = [] } = vscode.workspace;
  const local = workspaceFolders.filter(({ uri }) => isTrusted && uri.scheme === "file").map(({ uri }) => uri.fsPath);
  const places = commandPlaces(settings().get<string>("command", "vm"), local);
  try {
    await withProgress("Starting the pool's server…", (signal) => startServer(places, signal));
  } catch (error) {
    if (!(error instanceof CannotStart) || !error.missing) throw error;
    core.log.error(error.message);
    await offerInstallation(error.message);
    return;
  }
  said(await core.connection.reconnect());
}

async function offerInstallation(why: string): Promise<void> {
  const choice = await vscode.window.showErrorMessage(why, "Install in Terminal", "Where Is It?");
  if (choice === "Where Is It?") await vscode.commands.executeCommand("workbench.action.openSettings", "vmpool.command");
  if (choice !== "Install in Terminal") return;
  const terminal = vscode.window.createTerminal("vmpool");
  terminal.show();
  terminal.sendText("python3 -m pip install 'vmpool[server]'", false); // whoever reads it presses Enter
}

async function chooseServer(core: Core): Promise<void> {
  const given = await vscode.window.showInputBox({
    title: "Choose Server (1 of 2): its address",
    prompt: "Left empty: this machine's own.",
    placeHolder: "https://pool.example:8321",
    value: settings().get<string>("server", ""),
    validateInput: (value) => (value.trim() === "" || address(value) !== null ? undefined : "No address of a server."),
  });
  if (given === undefined) throw cancelled();
  const url = given.trim() === "" ? "" : (address(given) ?? "");
  if (url !== "" && isExposed(url)) await confirmExposed(url);
  await settings().update("server", url || undefined, vscode.ConfigurationTarget.Global);
  const state = await core.connection.reconnect();
  if (state.kind === "noKey") await signIn(core);
  else said(state);
}

async function confirmExposed(url: string): Promise<void> {
  const detail = "Your key and all you send can be read on the way there. An https address keeps them.";
  const options = { modal: true, detail };
  const answer = await vscode.window.showWarningMessage(`Use ${url} without encryption?`, options, "Use It");
  if (answer === undefined) throw cancelled();
}

async function signIn(core: Core): Promise<void> {
  const url = await knownURL(core);
  const key = await vscode.window.showInputBox({
    title: `API key for ${url}`,
    prompt: "Made by “vm key create” or in the dashboard; kept in the editor's secret storage.",
    password: true,
    ignoreFocusOut: true,
    validateInput: (value) => (/^\S+$/.test(value.trim()) ? undefined : "A key is one word, like vmp_…"),
  });
  if (key === undefined) throw cancelled();
  await core.connection.keepKey(url, key.trim());
  said(await core.connection.reconnect());
}

async function signOut(core: Core): Promise<void> {
  await core.connection.keepKey(await knownURL(core), undefined);
  await core.connection.reconnect();
}

/** The server a key is for. */
async function knownURL({ connection }: Core): Promise<string> {
  const { state } = connection;
  const found = state.kind === "idle" || state.kind === "connecting" ? await connection.connect() : state;
  switch (found.kind) {
    case "connected":
      return found.client.endpoint.url;
    case "noKey":
      return found.url;
    case "failed":
      if (found.url !== "") return found.url;
      throw new NotConnected(found);
    case "idle":
    case "connecting":
    case "noServer":
    case "badAddress":
      throw new NotConnected(found);
  }
}

/** The outcome of what was asked for: silence where it worked, else what to do. */
function said(state: ConnectionState): void {
  if (state.kind !== "connected") throw new NotConnected(state);
  vscode.window.setStatusBarMessage(`$(vm) Connected to ${state.client.endpoint.url}`, 5000);
}

function settings(): vscode.WorkspaceConfiguration {
  return vscode.workspace.getConfiguration("vmpool");
}
