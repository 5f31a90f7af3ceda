/** Places in the output channel lead to the text that was run, and to files of the VM that wrote them. */
import * as vscode from "vscode";
import type { VM } from "../api/types";
import { linkTo } from "../problems/diagnostics";
import { placesIn } from "../problems/links";
import type { Run } from "./run";

/** The language of the channel's document, by which its links are asked for. */
export const OUTPUT_LANGUAGE = "vmpool-runs";
/** Runs whose output may still stand in the channel. */
const KEPT = 100;
/** Lines in which links are looked for: the last ones. */
const MOST_LINES = 5_000;

/** Knows which heading stands for which run. */
export class OutputLinks implements vscode.DocumentLinkProvider {
  private readonly runs = new Map<string, Run>();

  /** A run whose output stands below this line. */
  add(heading: string, run: Run): void {
    this.runs.set(heading, run);
    for (const known of [...this.runs.keys()].slice(0, -KEPT)) this.runs.delete(known);
  }

  provideDocumentLinks(document: vscode.TextDocument): vscode.DocumentLink[] {
    const links: vscode.DocumentLink[] = [];
    let run: Run | undefined;
    for (let at = 0; at < document.lineCount; at++) {
      const { text } = document.lineAt(at);
      if (text.startsWith("── ")) run = this.runs.get(text) ?? run;
      else if (run && at >= document.lineCount - MOST_LINES) links.push(...linksOf(run, at, text));
    }
    return links;
  }
}

function linksOf(run: Run, at: number, text: string): vscode.DocumentLink[] {
  const vm = writerOf(run, text);
  const { source } = run.request;
  if (!vm) return [];
  const origin = { line: source?.firstLine ?? 0, character: source?.firstCharacter ?? 0 };
  return placesIn(text).flatMap((place) => {
    const target = linkTo(vm, { uri: source?.uri ?? null, origin }, place);
    return target ? [new vscode.DocumentLink(new vscode.Range(at, place.start, at, place.start + place.length), target)] : [];
  });
}

/** Of several VMs, the one whose name stands before the line. */
function writerOf(run: Run, text: string): VM | undefined {
  const { vms } = run.request;
  if (vms.length === 1) return vms[0];
  const name = /^(\S+) │ /.exec(text)?.[1];
  return vms.find((vm) => vm.name === name);
}
