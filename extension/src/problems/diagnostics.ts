/** Findings shown in the editor: at the text that was run, wherever in its document it stood, with links to the rest. */
import * as vscode from "vscode";
import type { VM } from "../api/types";
import { vmUri } from "../vmUri";
import type { Finding, Place, Related, Severity } from "./finding";
import type { PlaceLink } from "./links";
import { inDocument, meaningOf, type Origin } from "./places";

/** What was run, and where. */
export interface Ran {
  /** The document's; null: the code was typed. */
  readonly uri: string | null;
  readonly origin: Origin;
  /** Where earlier cells of the same kernel stand, by their numbers. */
  readonly cells?: ReadonlyMap<number, Origin>;
  readonly cwd?: string;
}

const SEVERITIES: Readonly<Record<Severity, vscode.DiagnosticSeverity>> = {
  error: vscode.DiagnosticSeverity.Error,
  warning: vscode.DiagnosticSeverity.Warning,
  information: vscode.DiagnosticSeverity.Information,
};

export class Diagnostics implements vscode.Disposable {
  private readonly shown = vscode.languages.createDiagnosticCollection("vmpool");
  private readonly closing = vscode.workspace.onDidCloseTextDocument((document) => this.shown.delete(document.uri));

  /** A new run of this document begins: what was said of the last one is of no use any more. */
  clear(uri: string): void {
    this.shown.delete(vscode.Uri.parse(uri));
  }

  /** Add what a VM said.  The same said by several VMs is shown once. */
  add(vm: Pick<VM, "name">, ran: Ran, findings: readonly Finding[]): void {
    const byFile = new Map<string, vscode.Diagnostic[]>();
    for (const finding of findings) {
      const at = whereToShow(vm, ran, finding);
      if (!at) continue;
      const diagnostic = new vscode.Diagnostic(at.range, finding.message, SEVERITIES[finding.severity]);
      diagnostic.source = `${finding.source} in ${vm.name}`;
      diagnostic.relatedInformation = related(vm, ran, finding, at.place);
      const key = at.uri.toString();
      byFile.set(key, [...(byFile.get(key) ?? []), diagnostic]);
    }
    for (const [key, diagnostics] of byFile) {
      const uri = vscode.Uri.parse(key);
      const before = this.shown.get(uri) ?? [];
      const others = diagnostics.filter((one) => !before.some((known) => same(known, one)));
      this.shown.set(uri, [...before, ...others]);
    }
  }

  dispose(): void {
    this.shown.dispose();
    this.closing.dispose();
  }
}

interface Shown {
  readonly uri: vscode.Uri;
  readonly range: vscode.Range;
  readonly place: Place;
}

/** The innermost place that is the user's own: an error inside a library is shown where it was called. */
function whereToShow(vm: Pick<VM, "name">, ran: Ran, finding: Finding): Shown | null {
  for (const place of [finding, ...[...finding.related].reverse()]) {
    const found = located(vm, ran, place);
    if (found && found.uri.scheme !== "vmpool") return { ...found, place };
  }
  const found = located(vm, ran, finding);
  return found && found.uri.path.startsWith(vmUri(vm).path) ? { ...found, place: finding } : null;
}

function related(vm: Pick<VM, "name">, ran: Ran, finding: Finding, shown: Place): vscode.DiagnosticRelatedInformation[] {
  const places: readonly (Related | Finding)[] = shown === finding ? finding.related : [...finding.related, finding];
  return places.flatMap((place) => {
    const found = place === shown ? null : located(vm, ran, place);
    return found ? [new vscode.DiagnosticRelatedInformation(new vscode.Location(found.uri, found.range), place.message)] : [];
  });
}

/** What a place in a program's output leads to: an address that opens at its line; null where it leads nowhere. */
export function linkTo(vm: Pick<VM, "name">, ran: Ran, place: PlaceLink): vscode.Uri | null {
  const found = located(vm, ran, { file: place.path, line: place.line, column: place.column });
  if (!found) return null;
  const { line, character } = found.range.start;
  return found.uri.with({ fragment: `${line + 1},${character + 1}` });
}

function located(vm: Pick<VM, "name">, ran: Ran, place: Place): { uri: vscode.Uri; range: vscode.Range } | null {
  const meaning = meaningOf(place.file, ran.cwd);
  switch (meaning.kind) {
    case "source":
      return inSource(ran.uri, ran.origin, place);
    case "cell":
      return inSource(ran.uri, ran.cells?.get(meaning.number), place);
    case "vm": {
      const at = inDocument({ line: 0, character: 0 }, place.line, place.column);
      return { uri: vmUri(vm, meaning.path), range: new vscode.Range(at.line, at.character ?? 0, at.line, at.character ?? 0) };
    }
    case "nothing":
      return null;
  }
}

function inSource(uri: string | null, origin: Origin | undefined, place: Place): { uri: vscode.Uri; range: vscode.Range } | null {
  return uri === null || origin === undefined ? null : { uri: vscode.Uri.parse(uri), range: rangeIn(uri, origin, place) };
}

/** The range in the document: what is marked, the word that stands there, or the whole line. */
function rangeIn(uri: string, origin: Origin, place: Place): vscode.Range {
  const document = vscode.workspace.textDocuments.find((one) => one.uri.toString() === uri);
  const at = inDocument(origin, place.line, place.column);
  const line = Math.min(at.line, Math.max(0, (document?.lineCount ?? at.line + 1) - 1));
  const text = document?.lineAt(line).text ?? "";
  const indent = text.length - text.trimStart().length;
  if (at.character === null) return new vscode.Range(line, indent, line, Math.max(indent, text.trimEnd().length));
  const start = Math.min(place.fromIndent ? indent + (place.column ?? 1) - 1 : at.character, text.length);
  if (place.length !== undefined) return new vscode.Range(line, start, line, Math.min(text.length, start + place.length));
  return document?.getWordRangeAtPosition(new vscode.Position(line, start)) ?? new vscode.Range(line, start, line, start + 1);
}

function same(one: vscode.Diagnostic, other: vscode.Diagnostic): boolean {
  return one.message === other.message && one.severity === other.severity && one.range.isEqual(other.range);
}
