/** Above each cell of a document: run it. */
import * as vscode from "vscode";
import { languageOf } from "../languages";
import { cellsOf } from "./cells";
import { linesOf } from "./code";

const MARKED = /^\s*(?:#|\/\/)\s*%%/m;

export class CellLenses implements vscode.CodeLensProvider {
  provideCodeLenses(document: vscode.TextDocument): vscode.CodeLens[] {
    if (languageOf(document.languageId) === null || !MARKED.test(document.getText())) return [];
    return cellsOf(linesOf(document)).map((cell) => {
      const line = Math.max(0, cell.first - 1);
      return new vscode.CodeLens(new vscode.Range(line, 0, line, 0), {
        title: "$(play) Run Cell in VM",
        command: "vmpool.runCell",
        arguments: [document.uri, cell.first],
      });
    });
  }
}
