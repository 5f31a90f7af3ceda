/** What every part of the extension may build on. */
import type * as vscode from "vscode";
import type { Connection } from "./connection";
import type { Pool } from "./pool/pool";
import type { Forwards } from "./ports/forwards";
import type { Runs } from "./run/runs";
import type { Node } from "./views/nodes";

export interface Selection {
  nodes: readonly Node[];
}

export interface Core {
  readonly connection: Connection;
  readonly pool: Pool;
  readonly runs: Runs;
  readonly forwards: Forwards;
  /** What is marked in the tree of VMs. */
  readonly selection: Selection;
  /** The output channel “vmpool”: what the extension did, and what went wrong. */
  readonly log: vscode.LogOutputChannel;
  readonly context: vscode.ExtensionContext;
}

/** A part of the extension: begins, and ends what it began when disposed of.  It must not wait for anything. */
export type Feature = (core: Core) => vscode.Disposable;
