/** Wires the parts together; nothing is waited for here. */
import * as vscode from "vscode";
import { Connection } from "./connection";
import type { Core } from "./core";
import { FEATURES } from "./features";
import { Pool } from "./pool/pool";
import { Runs } from "./run/runs";

export function activate(context: vscode.ExtensionContext): Core {
  const log = vscode.window.createOutputChannel("vmpool", { log: true });
  const pool = new Pool(() => vscode.workspace.getConfiguration("vmpool").get<number>("figuresInterval", 3) * 1000);
  const connection = new Connection(context.secrets, pool, log);
  const core: Core = { connection, pool, runs: new Runs(), log, context };
  context.subscriptions.push(log, pool, connection, core.runs, ...FEATURES.map((feature) => feature(core)));
  setImmediate(() => void connection.connect());
  return core;
}
