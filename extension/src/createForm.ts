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

interface TemplateItem extends vscode.QuickPickItem {
  readonly template: string;
}

/** given: as much of the body as a caller has; what it has is not asked.  Throws AbortError where it is left. */
export async function askForVM(core: Core, given: unknown): Promise<CreateVM> {
  const known = typeof given === "object" && given !== null ? (given as Partial<CreateVM>) : {};
  const taken = (await core.pool.loaded()).map((vm) => vm.name);
  const language = known.language ?? (await askTemplate(core));
  if (known.name !== undefined) return { ...known, language, name: known.name };
  return { ...known, language, ...(await askName(language, taken)) };
}

/** The templates of this server, that of the open document first. */
async function askTemplate(core: Core): Promise<string> {
  const templates = core.pool.status?.backend.templates ?? [];
  const ready = core.pool.status?.warm_pool.ready ?? {};
  const preferred = languageOf(vscode.window.activeTextEditor?.document.languageId ?? "") ?? "python";
  const items = [...templates]
    .sort((one, other) => Number(other === preferred) - Number(one === preferred))
    .map((template): TemplateItem => {
      const { label, detail } = described(template);
      const waits = (ready[template] ?? 0) > 0 ? "$(zap) ready at once" : "";
      return { template, label, description: [detail, waits].filter(Boolean).join(" · ") };
    });
  const title = "Create VM (1 of 2): for which language?";
  const chosen = await vscode.window.showQuickPick(items, { title, matchOnDescription: true });
  if (!chosen) throw cancelled();
  return chosen.template;
}

/** The name, and by a button beside it the limits: who wants none but the usual ones is not asked. */
async function askName(language: string, taken: readonly string[]): Promise<Named> {
  let name = freeName(language, taken);
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
