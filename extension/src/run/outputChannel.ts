/** What is run writes to the output channel “vmpool runs”, as it comes; of several VMs, each line says of which. */
import * as vscode from "vscode";
import type { Core, Feature } from "../core";
import { duration } from "../views/labels";
import { LineMixer } from "./lines";
import { OUTPUT_LANGUAGE, OutputLinks } from "./outputLinks";
import { ending } from "./run";
import type { Part, Run } from "./run";

export const outputChannel: Feature = (core) => {
  const channel = vscode.window.createOutputChannel("vmpool runs", OUTPUT_LANGUAGE);
  const links = new OutputLinks();
  return vscode.Disposable.from(
    channel,
    vscode.languages.registerDocumentLinkProvider({ language: OUTPUT_LANGUAGE }, links),
    core.runs.onDidBegin((run) => show(channel, links, core, run)),
  );
};

function show(channel: vscode.OutputChannel, links: OutputLinks, core: Core, run: Run): void {
  const { title, vms } = run.request;
  const [first] = vms;
  const only = vms.length === 1;
  const mixer = new LineMixer(only);
  const heading = `── ${title} in ${only ? (first?.name ?? "") : `${vms.length} VMs`}, ${run.begun.toLocaleTimeString()}`;
  links.add(heading, run);
  channel.appendLine(heading);
  if (vscode.workspace.getConfiguration("vmpool").get<boolean>("revealOutput", true)) channel.show(true);
  run.onOutput(({ part, piece }) => channel.append(mixer.add(part.vm.name, piece.text)));
  run.onPartEnd((part) => {
    channel.append(mixer.end(part.vm.name));
    channel.appendLine(`── ${part.vm.name}: ${ending(part)}${took(part)}`);
    if (part.error !== null) core.log.warn(`${title} in ${part.vm.name}: ${ending(part)}`);
  });
}

function took({ execution }: Part): string {
  return typeof execution?.execution_time !== "number" ? "" : `, ${duration(execution.execution_time)}`;
}
