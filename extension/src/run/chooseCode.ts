/** What is run: the selection, the file in the editor, or a line that is typed. */
import * as vscode from "vscode";
import { cancelled } from "../api/problem";
import type { ExecuteRequest } from "../api/types";
import { languageOf } from "../languages";
import type { Source } from "./run";

export interface Code {
  readonly title: string;
  readonly body: ExecuteRequest;
  readonly source?: Source;
}

interface CodeItem extends vscode.QuickPickItem {
  readonly make: () => Promise<Code>;
}

/** vmLanguage: of the VM it is for; code that is typed is of it.  Throws AbortError where nothing is chosen. */
export async function chooseCode(vmLanguage: string): Promise<Code> {
  const items: CodeItem[] = [
    ...editorCode(),
    { label: "$(edit) Code…", description: vmLanguage, make: () => typed("code", vmLanguage) },
    { label: "$(terminal) Shell command…", description: "bash", make: () => typed("command", vmLanguage) },
  ];
  const chosen = await vscode.window.showQuickPick(items, { title: "Execute what?" });
  if (!chosen) throw cancelled();
  return await chosen.make();
}

/** The selection first where there is one, then the whole file. */
function editorCode(): CodeItem[] {
  const editor = vscode.window.activeTextEditor;
  if (!editor) return [];
  const { document, selection } = editor;
  const language = languageOf(document.languageId);
  if (language === null) return [];
  const items: CodeItem[] = [];
  if (!selection.isEmpty) {
    const lines = selection.end.line - selection.start.line + 1;
    items.push({
      label: "$(selection) Selection",
      description: `${lines} ${lines === 1 ? "line" : "lines"} of ${nameOf(document)}, ${language}`,
      make: () => Promise.resolve(codeOf(document, language, selection)),
    });
  }
  if (document.getText().trim() !== "") {
    items.push({
      label: "$(file-code) File",
      description: `${nameOf(document)}, ${language}`,
      make: () => Promise.resolve(codeOf(document, language)),
    });
  }
  return items;
}

/** A document, or a part of it, as code to be run. */
export function codeOf(document: vscode.TextDocument, language: string, part?: vscode.Range): Code {
  return {
    title: part ? `Selection of ${nameOf(document)}` : nameOf(document),
    body: { code: document.getText(part), language },
    source: { uri: document.uri.toString(), firstLine: part?.start.line ?? 0, firstCharacter: part?.start.character ?? 0 },
  };
}

async function typed(kind: "code" | "command", language: string): Promise<Code> {
  const text = await vscode.window.showInputBox({
    title: kind === "code" ? `Execute: ${language} code` : "Execute: shell command",
    placeHolder: kind === "code" ? "print('Hello from VM!')" : "ls -l",
  });
  if (!text) throw cancelled();
  const title = text.length > 40 ? `${text.slice(0, 40)}…` : text;
  return { title, body: kind === "code" ? { code: text } : { command: text } };
}

function nameOf(document: vscode.TextDocument): string {
  return document.uri.path.split("/").at(-1) ?? "document";
}
