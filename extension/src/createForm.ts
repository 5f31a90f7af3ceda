/** What a new VM is to be: two questions with an answer each, and more only for who wants it. */
import * as vscode from "vscode";
import { cancelled } from "./api/problem";
import type { CreateVM } from "./api/types";
import type { Core } from "./core";
import { described, freeName, languageOf, nameProblem } from "./languages";
import { sizeOf } from "./sizes";
import type { Size } from "./sizes";
import { cores, megabytes } from "./views/labels";

interface TemplateItem extends vscode.QuickPickItem {
  readonly template: string;
}

/** given: as much of the body as a caller has; what it has is not asked.  Throws AbortError where it is left. */
export async function askForVM(core: Core, given: unknown): Promise<CreateVM> {
  const known = typeof given === "object" && given !== null ? (given as Partial<CreateVM>) : {};
  const taken = (await core.pool.loaded()).map((vm) => vm.name);
  const language = known.language ?? (await askTemplate(core));
  const name = known.name ?? (await askName(language, taken));
  if (known.name !== undefined) return { ...known, language, name };
  return { ...known, ...(await askSize()), language, name };
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
  const title = "Create VM (1 of 3): for which language?";
  const chosen = await vscode.window.showQuickPick(items, { title, matchOnDescription: true });
  if (!chosen) throw cancelled();
  return chosen.template;
}

async function askName(language: string, taken: readonly string[]): Promise<string> {
  const name = await vscode.window.showInputBox({
    title: "Create VM (2 of 3): its name",
    value: freeName(language, taken),
    validateInput: (value) => nameProblem(value, taken),
  });
  if (name === undefined) throw cancelled();
  return name;
}

const SIZES = [
  { cpu_limit: 1, memory_limit: 512, disk_limit: 1024, label: "Standard" },
  { cpu_limit: 0.5, memory_limit: 256, disk_limit: 512, label: "Small" },
  { cpu_limit: 2, memory_limit: 2048, disk_limit: 4096, label: "Large" },
] as const;

async function askSize(): Promise<Size> {
  const items = [
    ...SIZES.map((size) => ({ size: size, label: size.label, description: said(size) })),
    { size: null, label: "$(edit) Other…", description: "cores, memory and disk of your own" },
  ];
  const chosen = await vscode.window.showQuickPick(items, { title: "Create VM (3 of 3): how large?" });
  if (!chosen) throw cancelled();
  if (chosen.size === null) return await askOtherSize();
  const { cpu_limit, memory_limit, disk_limit } = chosen.size;
  return { cpu_limit, memory_limit, disk_limit };
}

async function askOtherSize(): Promise<Size> {
  const text = await vscode.window.showInputBox({
    title: "Create VM: cores, memory in MB, disk in MB",
    value: "1, 512, 1024",
    validateInput: (value) => (sizeOf(value) ? undefined : "Three numbers, for example: 1.5, 1024, 2048"),
  });
  const size = sizeOf(text ?? "");
  if (!size) throw cancelled();
  return size;
}

function said(size: Size): string {
  return `${cores(size.cpu_limit)}, ${megabytes(size.memory_limit)} memory, ${megabytes(size.disk_limit)} disk`;
}
