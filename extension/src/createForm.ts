/** What a new VM is to be: two questions that have an answer already, and more only for who wants it. */
import * as vscode from "vscode";
import { cancelled } from "./api/problem";
import type { CreateVM } from "./api/types";
import type { Core } from "./core";
import { described, freeName, languageOf, nameProblem } from "./languages";
import { sizeOf } from "./sizes";
import type { Size } from "./sizes";
import { cores, megabytes } from "./views/labels";

type Named = Pick<CreateVM, "name"> & Partial<Size>;

/** What a VM starts from: a language's own template, or one of the user's, which knows its language. */
type Start = { readonly language: string } | { readonly template: string };

interface StartItem extends vscode.QuickPickItem {
  readonly start?: Start;
}

/** given: as much of the body as a caller has; what it has is not asked.  Throws AbortError where it is left. */
export async function askForVM(core: Core, given: unknown): Promise<CreateVM> {
  const known = typeof given === "object" && given !== null ? (given as Partial<CreateVM>) : {};
  const taken = (await core.pool.loaded()).map((vm) => vm.name);
  const start = known.language || known.template ? {} : await askStart(core);
  const body = { ...known, ...start };
  if (known.name !== undefined) return { ...body, name: known.name };
  return { ...body, ...(await askName(body.template ?? body.language ?? "vm", taken)) };
}

/** The user's templates where there are any, then this server's: that of the open document first. */
async function askStart(core: Core): Promise<Start> {
  const client = await core.connection.client();
  const own = await client.all("/api/templates");
  const kept = own.map(({ name, language, description }): StartItem => {
    const start = { template: name };
    return { start, label: `$(package) ${name}`, description: described(language).label, detail: description };
  });
  const languages = languageItems(core);
  const items: StartItem[] = kept.length === 0 ? languages : [...languages, separator("Templates"), ...kept];
  const title = "Create VM (1 of 2): what it starts from";
  const chosen = await vscode.window.showQuickPick(items, { title, matchOnDescription: true, matchOnDetail: true });
  if (!chosen?.start) throw cancelled();
  return chosen.start;
}

function languageItems(core: Core): StartItem[] {
  const templates = core.pool.status?.backend.templates ?? [];
  const ready = core.pool.status?.warm_pool.ready ?? {};
  const preferred = languageOf(vscode.window.activeTextEditor?.document.languageId ?? "") ?? "python";
  return [...templates]
    .sort((one, other) => Number(other === preferred) - Number(one === preferred))
    .map((language): StartItem => {
      const { label, detail } = described(language);
      const waits = (ready[language] ?? 0) > 0 ? "$(zap) ready at once" : "";
      return { start: { language }, label, description: [detail, waits].filter(Boolean).join(" · ") };
    });
}

function separator(label: string): StartItem {
  return { label, kind: vscode.QuickPickItemKind.Separator };
}

/** The name, and by a button beside it the limits: who wants none but the usual ones is not asked. */
async function askName(template: string, taken: readonly string[]): Promise<Named> {
  let name = freeName(template, taken);
  let size: Size | null = null;
  for (;;) {
    const { asks, value } = await nameBox(name, size, taken);
    name = value;
    if (asks === "made") return { name, ...size };
    if (asks === "left") throw cancelled();
    size = (await askSize()) ?? size;
  }
}

interface NameAnswer {
  /** What is wanted now: the VM, its limits, or nothing. */
  readonly asks: "made" | "limits" | "left";
  readonly value: string;
}

function nameBox(name: string, size: Size | null, taken: readonly string[]): Promise<NameAnswer> {
  const box = vscode.window.createInputBox();
  box.title = "Create VM (2 of 2): its name";
  box.value = name;
  box.prompt = size === null ? "Enter makes it" : `${said(size)}. Enter makes it`;
  box.buttons = [{ iconPath: new vscode.ThemeIcon("settings"), tooltip: "Limits: cores, memory, disk" }];
  const problem = () => (box.validationMessage = nameProblem(box.value, taken));
  return new Promise((resolve) => {
    const answer = (asks: NameAnswer["asks"]) => {
      resolve({ asks, value: box.value }); // the first answer counts
      box.dispose();
    };
    box.onDidChangeValue(problem);
    box.onDidAccept(() => {
      if (problem() === undefined) answer("made");
    });
    box.onDidTriggerButton(() => answer("limits"));
    box.onDidHide(() => answer("left"));
    box.show();
  });
}

const SIZES = [
  { cpu_limit: 1, memory_limit: 512, disk_limit: 1024, label: "Standard" },
  { cpu_limit: 0.5, memory_limit: 256, disk_limit: 512, label: "Small" },
  { cpu_limit: 2, memory_limit: 2048, disk_limit: 4096, label: "Large" },
] as const;

/** The limits; null where none are chosen. */
async function askSize(): Promise<Size | null> {
  const items = [
    ...SIZES.map((size: Size & { readonly label: string }) => ({ size, label: size.label, description: said(size) })),
    { size: null, label: "$(edit) Other…", description: "cores, memory and disk of your own" },
  ];
  const chosen = await vscode.window.showQuickPick(items, { title: "Limits of the new VM" });
  if (!chosen) return null;
  if (chosen.size === null) return await askOtherSize();
  const { cpu_limit, memory_limit, disk_limit } = chosen.size;
  return { cpu_limit, memory_limit, disk_limit };
}

async function askOtherSize(): Promise<Size | null> {
  const text = await vscode.window.showInputBox({
    title: "Limits: cores, memory in MB, disk in MB",
    value: "1, 512, 1024",
    validateInput: (value) => (sizeOf(value) ? undefined : "Three numbers, for example: 1.5, 1024, 2048"),
  });
  return sizeOf(text ?? "");
}

function said(size: Size): string {
  return `${cores(size.cpu_limit)}, ${megabytes(size.memory_limit)} memory, ${megabytes(size.disk_limit)} disk`;
}
