/** The workspace's pytest suite, run in VMs that are made for it and deleted afterwards. */
import * as vscode from "vscode";
import { isCancelled, words } from "../api/problem";
import { report } from "../commands";
import type { Core, Feature } from "../core";
import { isTestFile } from "./discover";
import { Items, jobsOf, leavesOf } from "./items";
import { nodeOf, placeOf, type Result } from "./junit";
import { projectArchive } from "./project";
import { ordered, runSuite, type Job } from "./shards";

const DURATIONS = "vmpool.testSeconds";

export const testing: Feature = (core) => {
  const controller = vscode.tests.createTestController("vmpool.tests", "Tests in VMs");
  const items = new Items(controller);
  let watching: vscode.Disposable | undefined;
  const discover = async () => {
    watching ??= watch(items);
    await items.discover();
  };
  // Nothing is looked for until somebody looks at tests.
  controller.resolveHandler = async (item) => {
    if (item === undefined) await discover();
  };
  controller.refreshHandler = discover;
  controller.createRunProfile("Run in VMs", vscode.TestRunProfileKind.Run, (request, token) => run(core, controller, request, token), true);
  return vscode.Disposable.from(controller, { dispose: () => void watching?.dispose() });
};

function watch(items: Items): vscode.Disposable {
  const watcher = vscode.workspace.createFileSystemWatcher("**/*.py");
  const read = (uri: vscode.Uri) => void items.read(uri);
  return vscode.Disposable.from(
    watcher,
    watcher.onDidCreate(read),
    watcher.onDidChange(read),
    watcher.onDidDelete(read),
    vscode.workspace.onDidChangeTextDocument(({ document }) => {
      if (document.uri.scheme === "file" && isTestFile(document.uri.path)) items.set(document.uri, document.getText());
    }),
  );
}

async function run(core: Core, controller: vscode.TestController, request: vscode.TestRunRequest, token: vscode.CancellationToken): Promise<void> {
  const made = controller.createTestRun(request);
  const stopping = new AbortController();
  token.onCancellationRequested(() => stopping.abort());
  try {
    for (const [folder, jobs] of jobsOf(controller, request)) await runFolder(core, made, folder, jobs, stopping.signal);
  } catch (error) {
    if (!isCancelled(error) && !stopping.signal.aborted) {
      made.appendOutput(`${words(error)}\n`.replaceAll(/\r?\n/g, "\r\n"));
      void report(core, error);
    }
  } finally {
    made.end();
  }
}

async function runFolder(
  core: Core,
  made: vscode.TestRun,
  folder: vscode.WorkspaceFolder,
  wanted: readonly { readonly job: Job; readonly items: vscode.TestItem[] }[],
  signal: AbortSignal,
): Promise<void> {
  for (const { items } of wanted) for (const item of items.flatMap(leavesOf)) made.enqueued(item);
  const say = (text: string) => made.appendOutput(`${text}\n`.replaceAll(/\r?\n/g, "\r\n"));
  const settings = vscode.workspace.getConfiguration("vmpool", folder);
  const client = await core.connection.client();
  const seconds = { ...core.context.workspaceState.get<Record<string, number>>(DURATIONS) };
  const files = wanted.map(({ job }) => job.file);
  const itemsOf = (job: Job) => wanted.find((one) => one.job === job)?.items ?? [];
  const options = {
    vms: settings.get<number>("testVMs", 4),
    template: settings.get<string>("testTemplate", "python"),
    setup: settings.get<string>("testSetup", ""),
    command: settings.get<string>("testCommand", "python3 -m pytest"),
    name: `tests-${Math.random().toString(36).slice(2, 8)}`,
    archive: await projectArchive(folder.uri.fsPath, signal),
  };
  await runSuite(
    client,
    ordered(wanted.map(({ job }) => job), seconds),
    options,
    {
      note: say,
      begun: (job, vm) => {
        say(`${job.file}: begun in ${vm.name}`);
        for (const item of itemsOf(job).flatMap(leavesOf)) made.started(item);
      },
      ended: (job, results, said, took) => {
        seconds[job.file] = took;
        made.appendOutput(said.replaceAll(/\r?\n/g, "\r\n"));
        tell(made, folder, itemsOf(job), files, results, said);
      },
    },
    signal,
  );
  await core.context.workspaceState.update(DURATIONS, seconds);
}

/** Each item gets the results of its own; of several, by parameters, the worst counts. */
function tell(
  made: vscode.TestRun,
  folder: vscode.WorkspaceFolder,
  items: readonly vscode.TestItem[],
  files: readonly string[],
  results: readonly Result[] | null,
  said: string,
): void {
  const byNode = new Map<string, Result[]>();
  for (const result of results ?? []) {
    const node = nodeOf(result, files);
    if (node !== null) byNode.set(node, [...(byNode.get(node) ?? []), result]);
  }
  for (const item of items.flatMap(leavesOf)) {
    const uri = item.uri?.toString() ?? "";
    const file = (item.uri?.path ?? "").slice(folder.uri.path.length + 1);
    const own = byNode.get(file + item.id.slice(uri.length)) ?? byNode.get(file);
    if (!own) made.errored(item, new vscode.TestMessage(results === null ? lastOf(said) : "pytest has not run this test."));
    else tellOne(made, folder, item, own);
  }
}

function tellOne(made: vscode.TestRun, folder: vscode.WorkspaceFolder, item: vscode.TestItem, results: readonly Result[]): void {
  const milliseconds = results.reduce((sum, one) => sum + one.seconds, 0) * 1000;
  const bad = results.filter(({ outcome }) => outcome === "failed" || outcome === "errored");
  const messages = bad.map((one) => messageOf(folder, item, one));
  if (bad.some(({ outcome }) => outcome === "failed")) made.failed(item, messages, milliseconds);
  else if (bad.length > 0) made.errored(item, messages, milliseconds);
  else if (results.every(({ outcome }) => outcome === "skipped")) made.skipped(item);
  else made.passed(item, milliseconds);
}

function messageOf(folder: vscode.WorkspaceFolder, item: vscode.TestItem, result: Result): vscode.TestMessage {
  const parameters = /\[.*$/s.exec(result.name)?.[0];
  const said = parameters === undefined ? result.message : `${parameters}: ${result.message}`;
  const message = new vscode.TestMessage([said, result.text].filter(Boolean).join("\n"));
  const place = placeOf(result.text);
  if (place) {
    const uri = vscode.Uri.joinPath(folder.uri, place.file);
    message.location = new vscode.Location(uri, new vscode.Position(place.line - 1, 0));
  } else if (item.uri && item.range) message.location = new vscode.Location(item.uri, item.range);
  return message;
}

function lastOf(said: string): string {
  return said.trim().slice(-2_000) || "pytest wrote no report.";
}
