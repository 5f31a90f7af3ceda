/** This machine's own server, found as the `vm` command finds it, and started by it. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import type { Endpoint } from "../api/http";
import { cancelled } from "../api/problem";

type Environment = Readonly<Record<string, string | undefined>>;

/** Where this machine's own server keeps its state.  isRoot: whether its user is. */
export function stateDirectory(environment: Environment, isRoot: boolean, home: string = homedir()): string {
  const named = environment["VMPOOL_STATE_DIR"];
  if (named) return named;
  if (isRoot) return "/var/lib/vmpool";
  const state = environment["XDG_STATE_HOME"] ?? "";
  return join(isAbsolute(state) ? state : join(home, ".local", "state"), "vmpool");
}

/** What a running server says of itself in its state directory; null where none runs. */
export async function localServer(directory: string): Promise<Endpoint | null> {
  try {
    const said = JSON.parse(await readFile(join(directory, "server.json"), "utf8")) as Record<string, unknown>;
    const { url, certificate } = said;
    if (typeof url !== "string") return null;
    const key = (await readFile(join(directory, "owner.key"), "utf8")).trim();
    if (typeof certificate !== "string") return { url, key };
    return { url, key, authority: await readFile(certificate, "utf8"), anyName: true };
  } catch {
    return null; // none, stopped, just being written, or another user's
  }
}

/** A server could not be started. */
export class CannotStart extends Error {
  constructor(
    message: string,
    /** There is no `vm` command to start it with. */
    readonly missing: boolean,
  ) {
    super(message);
    this.name = "CannotStart";
  }
}

/** Milliseconds a first start may take: it makes the database and looks at the host. */
const START_TIMEOUT = 90_000;

/**
 * Start this machine's own server; it goes on when the editor is closed.
 *
 * command: the `vm` program.  Throws CannotStart with the end of what it said.
 */
export function startServer(command: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(command, ["serve", "--detach"], { signal, timeout: START_TIMEOUT }, (error, stdout, stderr) => {
      if (error === null) {
        resolve();
        return;
      }
      if (signal.aborted) {
        reject(cancelled());
        return;
      }
      const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
      const said = (stderr || stdout).trim().split("\n").slice(-8).join("\n");
      const why = missing
        ? `There is no command “${command}” on this machine. Install the server with: pip install 'vmpool[server]'`
        : `The server did not start: ${said || error.message}`;
      reject(new CannotStart(why, missing));
    });
  });
}
