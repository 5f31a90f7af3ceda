/** Code of the editor, run in VMs: the selection, the file, the cell at the cursor. */
import * as vscode from "vscode";
import type { VM } from "../api/types";
import { command, withProgress } from "../commands";
import type { Core, Feature } from "../core";
import { watchRuns } from "../problems";
import { Diagnostics } from "../problems/diagnostics";
import { showRuns } from "../results";
import { ResultsPanel } from "../results/panel";
import { Results } from "../results/results";
import { runCell, type CellParts } from "./cellRun";
import { NothingToRun, cellCode, cellOf, fileCode, selectionCode, type Code } from "./code";
import { KERNELS, Kernels } from "./kernels";
import { CellLenses } from "./lenses";
import { chooseRunTarget, runTarget } from "./target";

const DOCUMENTS: vscode.DocumentSelector = [{ scheme: "file" }, { scheme: "untitled" }, { scheme: "vmpool" }];

export const execution: Feature = (core) => {
  const results = new Results();
  const diagnostics = new Diagnostics();
  const kernels = new Kernels();
  const panel = new ResultsPanel(core.context.extensionUri, results);
  const parts = { kernels, results, diagnostics };
  return vscode.Disposable.from(
    results,
    diagnostics,
    panel,
    watchRuns(core, diagnostics),
    showRuns(core, results, () => panel.show()),
    command(core, "vmpool.runSelection", () => run(core, selectionCode(editor()))),
    command(core, "vmpool.runFile", (given) => runFile(core, given)),
    command(core, "vmpool.runCell", (uri, line) => cellAtCursor(core, parts, panel, uri, line)),
    command(core, "vmpool.runCellAndAdvance", () => cellAndAdvance(core, parts, panel)),
    command(core, "vmpool.chooseRunTarget", () => chooseRunTarget(core)),
    command(core, "vmpool.showResults", () => panel.show()),
    vscode.languages.registerCodeLensProvider(DOCUMENTS, new CellLenses()),
    vscode.workspace.onDidCloseTextDocument((document) => {
      close(core, (client) => kernels.close(client, document.uri.toString()));
    }),
    { dispose: () => close(core, (client) => kernels.closeAll(client)) },
  );
};

async function runFile(core: Core, given: unknown): Promise<void> {
  const document = given instanceof vscode.Uri ? await vscode.workspace.openTextDocument(given) : editor().document;
  await run(core, fileCode(document));
}

async function run(core: Core, code: Code): Promise<void> {
  const vms = await runTarget(core);
  const client = await core.connection.client();
  const request = {
    title: code.title,
    vms,
    body: { code: code.text, language: code.language },
    source: { uri: code.uri, firstLine: code.origin.line, firstCharacter: code.origin.character },
  };
  await withProgress(`${code.title} in ${named(vms)}…`, (signal) => core.runs.go(client, request, signal));
}

async function cellAtCursor(core: Core, parts: CellParts, panel: ResultsPanel, uri: unknown, line: unknown): Promise<void> {
  const document = uri instanceof vscode.Uri ? await vscode.workspace.openTextDocument(uri) : editor().document;
  const at = typeof line === "number" ? line : editor().selection.active.line;
  await runCellOf(core, parts, panel, cellCode(document, cellOf(document, at).cell));
}

async function cellAndAdvance(core: Core, parts: CellParts, panel: ResultsPanel): Promise<void> {
  const shown = editor();
  const { cell, next } = cellOf(shown.document, shown.selection.active.line);
  const code = cellCode(shown.document, cell);
  if (next) {
    const place = new vscode.Position(next.first, 0);
    shown.selection = new vscode.Selection(place, place);
    shown.revealRange(new vscode.Range(place, place), vscode.TextEditorRevealType.InCenterIfOutsideViewport);
  }
  await runCellOf(core, parts, panel, code);
}

/** A language without kernels runs the cell as a program of its own. */
async function runCellOf(core: Core, parts: CellParts, panel: ResultsPanel, code: Code): Promise<void> {
  if (!KERNELS.has(code.language)) {
    await run(core, code);
    return;
  }
  const vms = await runTarget(core);
  panel.show();
  // The panel, which is seen, has the button that cancels it.
  const options = { location: vscode.ProgressLocation.Window, title: `${code.title} in ${named(vms)}` };
  await vscode.window.withProgress(options, () => runCell(core, parts, code, vms));
}

function editor(): vscode.TextEditor {
  const active = vscode.window.activeTextEditor;
  if (!active) throw new NothingToRun("There is nothing to run: open a file first.");
  return active;
}

function named(vms: readonly VM[]): string {
  return vms.length === 1 ? (vms[0]?.name ?? "") : `${vms.length} VMs`;
}

/** End what the server keeps for this editor; where it is away, its VM's end does it. */
function close(core: Core, work: (client: Awaited<ReturnType<Core["connection"]["client"]>>) => Promise<void>): void {
  const { state } = core.connection;
  if (state.kind !== "connected") return;
  work(state.client).catch((error: unknown) => core.log.debug(`closing kernels: ${String(error)}`));
}
