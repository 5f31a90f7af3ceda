/** Templates of the user's own: a VM's files, kept for VMs to start from. */
import * as vscode from "vscode";
import { cancelled } from "./api/problem";
import type { Template, VM } from "./api/types";
import { command, withProgress } from "./commands";
import type { Core, Feature } from "./core";
import { keptName, templateNameProblem } from "./languages";
import { targetVM } from "./pick";
import { bytes } from "./views/labels";
import { isNode } from "./views/nodes";

export const templateCommands: Feature = (core) =>
  vscode.Disposable.from(
    command(core, "vmpool.saveTemplate", (given) => saveTemplate(core, given)),
    command(core, "vmpool.deleteTemplate", () => deleteTemplate(core)),
  );

/** Keep a VM's files as they are now, under a name that says when: they stay when the VM is deleted. */
export async function keepFiles(core: Core, vm: VM): Promise<Template> {
  const client = await core.connection.client();
  const body = { name: keptName(vm.name, new Date()), vm_id: vm.id, description: `${vm.name}, before it was deleted` };
  const made = await withProgress(`Keeping the files of ${vm.name} as the template ${body.name}…`, (signal) =>
    client.request("post", "/api/templates", { body, signal }),
  );
  return published(made);
}

/** What is made of a VM or a snapshot is a template at once; only what has steps is a build first. */
function published(made: Template | { readonly state: string }): Template {
  if ("state" in made) throw new Error("The server builds where it was to publish; is it of another version?");
  return made;
}

/** Of a VM, or of the snapshot at which the command was begun. */
async function saveTemplate(core: Core, given: unknown): Promise<Template> {
  const client = await core.connection.client();
  const snapshot = isNode(given) && given.kind === "snapshot" ? given.snapshot : null;
  const states = ["running", "paused", "stopped"] as const;
  const vm = await targetVM(core, given, { title: "Make a template of which VM?", states });
  const name = await vscode.window.showInputBox({
    title: `Template of ${snapshot === null ? vm.name : snapshot.name}`,
    prompt: "Its name. Create VM offers it from then on.",
    value: `${vm.name}-template`,
    validateInput: templateNameProblem,
  });
  if (name === undefined) throw cancelled();
  const of = snapshot === null ? { vm_id: vm.id } : { snapshot_id: snapshot.id };
  const made = await withProgress(`Making the template ${name}…`, (signal) =>
    client.request("post", "/api/templates", { body: { name, ...of }, signal }),
  );
  const template = published(made);
  vscode.window.setStatusBarMessage(`$(package) ${template.name} can be chosen for new VMs`, 5000);
  return template;
}

async function deleteTemplate(core: Core): Promise<void> {
  const client = await core.connection.client();
  const { session } = core.connection.state.kind === "connected" ? core.connection.state : { session: null };
  const all = await client.all("/api/templates");
  const own = all.filter((template) => template.user_id === session?.user_id);
  if (own.length === 0) throw new Error("You have no template of your own. Save one of a VM first.");
  const items = own.map((template) => ({
    template,
    label: `$(package) ${template.name}`,
    description: `${bytes(template.size)}, ${new Date(template.created_at).toLocaleString()}`,
    detail: template.description,
  }));
  const chosen = await vscode.window.showQuickPick(items, { title: "Delete which template?" });
  if (!chosen) throw cancelled();
  const { id, name } = chosen.template;
  const detail = "VMs made from it stay. The files it keeps cannot be brought back.";
  const options = { modal: true, detail };
  if ((await vscode.window.showWarningMessage(`Delete the template “${name}”?`, options, "Delete")) === undefined) {
    throw cancelled();
  }
  await client.request("delete", "/api/templates/{template_id}", { path: { template_id: id } });
}
