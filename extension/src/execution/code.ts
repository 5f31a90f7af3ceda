/** What of a document is run: the selection, the whole, or the cell at the cursor. */
import type * as vscode from "vscode";
import { languageOf } from "../languages";
import type { Origin } from "../problems/places";
import { cellAfter, cellAt, cellsOf, type Cell } from "./cells";

export interface Code {
  /** "selection of main.py" */
  readonly title: string;
  readonly text: string;
  readonly language: string;
  readonly uri: string;
  readonly origin: Origin;
}

/** A document of which nothing can be run; the message says why. */
export class NothingToRun extends Error {}

export function fileCode(document: vscode.TextDocument): Code {
  return made(document, "", document.getText(), { line: 0, character: 0 });
}

/** The selection; without one, the line of the cursor. */
export function selectionCode(editor: vscode.TextEditor): Code {
  const { document, selection } = editor;
  const range = selection.isEmpty ? document.lineAt(selection.active.line).range : selection;
  const what = selection.isEmpty ? `line ${range.start.line + 1} of ` : "selection of ";
  const text = document.getText(range);
  const indent = selection.isEmpty ? text.length - text.trimStart().length : 0;
  const origin = { line: range.start.line, character: range.start.character + indent };
  return made(document, what, text.slice(indent), origin);
}

export function cellCode(document: vscode.TextDocument, cell: Cell): Code {
  const text = linesOf(document).slice(cell.first, cell.last + 1).join("\n");
  return made(document, `${cell.title} of `, text, { line: cell.first, character: 0 });
}

/** The cell at a line, and where the next one begins. */
export function cellOf(document: vscode.TextDocument, line: number): { cell: Cell; next: Cell | null } {
  const cells = cellsOf(linesOf(document));
  const cell = cellAt(cells, line);
  if (!cell) throw new NothingToRun("There is no cell at the cursor: a cell begins with a line “# %%”.");
  return { cell, next: cellAfter(cells, cell) };
}

export function linesOf(document: vscode.TextDocument): string[] {
  return document.getText().split(/\r?\n/);
}

function made(document: vscode.TextDocument, what: string, text: string, origin: Origin): Code {
  const language = languageOf(document.languageId);
  if (language === null) {
    throw new NothingToRun(`The pool runs no ${document.languageId}: choose the document's language below, at the right.`);
  }
  if (text.trim() === "") throw new NothingToRun("There is nothing to run: what is chosen is empty.");
  const name = document.uri.path.slice(document.uri.path.lastIndexOf("/") + 1);
  return { title: `${what}${name}`, text, language, uri: document.uri.toString(), origin };
}
