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
 * Where the `vm` program may be, best first.
 *
 * setting: as the user named it.  folders: of a workspace that is trusted; one may have it in its virtual environment.
 */
export function commandPlaces(setting: string, folders: readonly string[], home: string = homedir()): readonly string[] {
  if (setting !== "vm") return [setting];
  const environments = folders.flatMap((folder) => [join(folder, ".venv", "bin", "vm"), join(folder, "venv", "bin", "vm")]);
  return [...environments, "vm", join(home, ".local", "bin", "vm")];
}

/**
 * Start this machine's own server; it goes on when the editor is closed.
 *
 * places: of the `vm` program; the first that is there is taken.  Throws CannotStart with the end of what it said.
 */
export async function startServer(places: readonly string[], signal: AbortSignal): Promise<void> {
  for (const place of places) {
    if (await hasStarted(place, signal)) return;
  }
  const named = places.length === 1 ? `“${places[0] ?? ""}”` : "“vm”";
  const why = `There is no command ${named} on this machine. Install the server with: pip install 'vmpool[server]'`;
  throw new CannotStart(why, true);
}

/** false: no such program is there. */
function hasStarted(command: string, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    execFile(command, ["serve", "--detach"], { signal, timeout: START_TIMEOUT }, (error, stdout, stderr) => {
      if (error === null) resolve(true);
      else if (signal.aborted) reject(cancelled());
      else if ((error as NodeJS.ErrnoException).code === "ENOENT") resolve(false);
      else {
        const said = (stderr || stdout).trim().split("\n").slice(-8).join("\n");
        reject(new CannotStart(`The server did not start: ${said || error.message}`, false));
      }
    });
  });
}
