/** Runs and cells are shown in the results panel. */
import * as vscode from "vscode";
import { isCancelled, words } from "../api/problem";
import type { VM } from "../api/types";
import type { Core } from "../core";
import type { Subscription } from "../emitter";
import { ending, succeeded, type Run } from "../run/run";
import { linkTo, type Ran } from "../problems/diagnostics";
import type { PlaceLink } from "../problems/links";
import type { Open, Results } from "./results";

export function showRuns(core: Core, results: Results, shown: () => void): Subscription {
  return core.runs.onDidBegin((run) => {
    report(run, results);
    if (run.parts.length > 1) shown(); // one alone is in the output channel; several are compared here
  });
}

/** What a run's places mean: its source, and files of the VM. */
function opening(run: Run): Open {
  const { source } = run.request;
  const origin = { line: source?.firstLine ?? 0, character: source?.firstCharacter ?? 0 };
  return (place, link) => {
    const vm = run.parts[place]?.vm;
    if (vm) void openPlace(vm, { uri: source?.uri ?? null, origin }, link);
  };
}

/** In the editor it stands in already, where it does. */
export async function openPlace(vm: Pick<VM, "name">, ran: Ran, link: PlaceLink): Promise<void> {
  const target = linkTo(vm, ran, link);
  if (!target) return;
  const uri = target.with({ fragment: "" });
  const shown = vscode.window.visibleTextEditors.find(({ document }) => document.uri.toString() === uri.toString());
  const [line = 1, column = 1] = target.fragment.split(",").map(Number);
  const at = new vscode.Position(line - 1, column - 1);
  const viewColumn = shown?.viewColumn ?? vscode.ViewColumn.One;
  try {
    await vscode.window.showTextDocument(uri, { selection: new vscode.Range(at, at), viewColumn });
  } catch (error) {
    void vscode.window.showWarningMessage(`${link.path} of ${vm.name} cannot be opened: ${words(error)}`);
  }
}

function report(run: Run, results: Results): void {
  const told = results.begin(run.request.title, run.parts.map((part) => part.vm.name), () => run.cancel(), opening(run));
  run.onOutput(({ part, piece }) => told.add(run.parts.indexOf(part), [{ kind: "text", ...piece }]));
  run.onPartEnd((part) => {
    const place = run.parts.indexOf(part);
    if (part.error instanceof Error && !isCancelled(part.error)) told.add(place, [{ kind: "error", text: part.error.message }]);
    told.end(place, part.error instanceof Error && !isCancelled(part.error) ? "no result" : ending(part), succeeded(part));
  });
}
