/** One running editor: code-server with data of its own on a free port, and the end of all its processes. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY = /HTTP server listening on (http:\/\/127\.0\.0\.1:\d+)/;

/** What keeps the pictures and the tests steady: nothing of the editor's own asks for attention. */
const SETTINGS = {
  "workbench.startupEditor": "none",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.tips.enabled": false,
  "workbench.colorTheme": "Default Light Modern",
  "window.commandCenter": false,
  "window.autoDetectColorScheme": true,
  "workbench.editor.useModal": "off",
  "chat.disableAIFeatures": true,
  "editor.minimap.enabled": false,
  "files.autoSave": "off", // as it is on the desk; in a browser it is on
  "extensions.ignoreRecommendations": true,
  "git.enabled": false,
  "telemetry.telemetryLevel": "off",
  "terminal.integrated.enablePersistentSessions": false,
  "terminal.integrated.gpuAcceleration": "off",
};

export interface EditorOptions {
  /** An extension to install, as it is given to users. */
  vsix?: string;
  /** For tests inside the extension host; the editor shows no notification then. */
  driver?: boolean;
  env?: Record<string, string>;
  /** A directory in which its user's shell looks for programs first. */
  programs?: string;
}

export interface Editor {
  readonly url: string;
  /** A directory of its own, in which tests make workspaces. */
  readonly directory: string;
  stop(): Promise<void>;
}

/** Start an editor, installed first if it is not; it has ended, with all it started, when `stop` returns. */
export async function startEditor(options: EditorOptions = {}): Promise<Editor> {
  const root = execFileSync(join(import.meta.dirname, "install"), { encoding: "utf8" }).trim();
  const node = join(root, "node_modules", `node-linux-${process.arch}`, "bin", "node");
  const entry = join(root, "node_modules", "code-server", "out", "node", "entry.js");
  const directory = mkdtempSync(join(tmpdir(), "vmpool-editor-"));
  const data = join(directory, "data");
  const config = join(directory, "config.yaml");
  mkdirSync(join(data, "User"), { recursive: true });
  writeFileSync(join(data, "User", "settings.json"), JSON.stringify(SETTINGS));
  writeFileSync(config, "auth: none\n");
  // the editor asks a login shell for its environment, as it does on any desk
  if (options.programs !== undefined) writeFileSync(join(directory, ".profile"), `PATH='${options.programs}':$PATH\n`);
  const env: NodeJS.ProcessEnv = { ...process.env, ...options.env, HOME: directory, EXTENSIONS_GALLERY: '{"serviceUrl":""}' };
  for (const name of ["VMPOOL_URL", "VMPOOL_API_KEY"]) Reflect.deleteProperty(env, name); // found as a user's would be
  const places = ["--config", config, "--user-data-dir", data, "--extensions-dir", join(directory, "extensions")];
  if (options.vsix !== undefined) {
    execFileSync(node, [entry, ...places, "--install-extension", options.vsix], { env, stdio: "pipe" });
  }
  const flags = ["--auth", "none", "--bind-addr", "127.0.0.1:0", "--reconnection-grace-time", "5", "--ignore-last-opened"];
  flags.push("--disable-telemetry", "--disable-update-check", "--disable-workspace-trust", "--disable-getting-started-override");
  flags.push("--idle-timeout-seconds", "300"); // should this process be killed, the editor does not outlive it for long
  if (options.driver === true) flags.push("--vscode-option", "enable-smoke-test-driver");
  // the leader of a group of its own, so that all its processes are ended at once
  const started = spawn(node, [entry, ...places, ...flags], { env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  const stop = async (): Promise<void> => {
    await ended(started);
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    return { url: await listening(started), directory, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function listening(started: ChildProcess): Promise<string> {
  let output = "";
  return new Promise((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      output += chunk.toString();
      const found = READY.exec(output)?.[1];
      if (found !== undefined) resolve(found);
    };
    started.stdout?.on("data", read);
    started.stderr?.on("data", read);
    started.once("error", reject);
    started.once("exit", (code) => reject(new Error(`the editor ended with ${code ?? "a signal"}:\n${output}`)));
  });
}

async function ended(started: ChildProcess): Promise<void> {
  if (started.pid === undefined) return;
  const exit = new Promise((resolve) => started.once("close", resolve));
  if (started.exitCode === null && started.signalCode === null) {
    process.kill(-started.pid, "SIGTERM");
    const late = setTimeout(() => signalled(started, "SIGKILL"), 5_000);
    await exit;
    clearTimeout(late);
  }
  signalled(started, "SIGKILL"); // the leader has gone; whoever of its group has not goes now
}

/** Send a signal to the group of a process, if any of it is left. */
function signalled(started: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-(started.pid ?? 0), signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
