/** Wires the parts together; nothing is waited for here. */
import * as vscode from "vscode";
import { Connection } from "./connection";
import type { Core } from "./core";
import { FEATURES } from "./features";
import { Pool } from "./pool/pool";
import { Forwards } from "./ports/forwards";
import { Runs } from "./run/runs";

export function activate(context: vscode.ExtensionContext): Core {
  const log = vscode.window.createOutputChannel("vmpool", { log: true });
  const pool = new Pool(() => vscode.workspace.getConfiguration("vmpool").get<number>("figuresInterval", 3) * 1000);
  const connection = new Connection(context.secrets, pool, log);
  const endpoint = async () => (await connection.client()).endpoint;
  const forwards = new Forwards(endpoint, (said) => log.warn(said));
  const core: Core = { connection, pool, runs: new Runs(), forwards, selection: { nodes: [] }, log, context };
  context.subscriptions.push(log, pool, connection, core.runs, forwards, ...FEATURES.map((feature) => feature(core)));
  setImmediate(() => void connection.connect());
  return core;
}
