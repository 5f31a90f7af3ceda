/** The files of a project that its tests need: what git knows and does not ignore, or all but the usual leavings. */
import { execFile } from "node:child_process";
import { lstat, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { archive, type Packed } from "./tar";

const LEAVINGS: ReadonlySet<string> = new Set([
  ...[".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"],
  ...[".tox", ".nox", "dist", "build", ".idea", ".vscode"],
]);
const LARGEST = 200 * 2 ** 20;
const MOST = 50_000;
const AT_ONCE = 32;

/** The archive of a directory's files.  Throws where there are too many for a test run. */
export async function projectArchive(directory: string, signal: AbortSignal): Promise<Buffer> {
  const paths = (await knownToGit(directory, signal)) ?? (await walked(directory));
  if (paths.length > MOST) throw new Error(tooMuch(directory));
  const files: Packed[] = [];
  let size = 0;
  for (let at = 0; at < paths.length; at += AT_ONCE) {
    signal.throwIfAborted();
    const some = await Promise.all(paths.slice(at, at + AT_ONCE).map((path) => packed(directory, path)));
    for (const file of some) {
      if (file === null) continue;
      size += file.content.length;
      if (size > LARGEST) throw new Error(tooMuch(directory));
      files.push(file);
    }
  }
  return archive(files);
}

function tooMuch(directory: string): string {
  return `${directory} is too large to be sent to VMs (more than 200 MB or ${MOST} files): name what is not needed in .gitignore.`;
}

/** null: git is not here, or this is no work tree. */
async function knownToGit(directory: string, signal: AbortSignal): Promise<string[] | null> {
  try {
    const words = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    const { stdout } = await promisify(execFile)("git", words, { cwd: directory, maxBuffer: 64 * 2 ** 20, signal });
    const paths = stdout.split("\0").filter(Boolean);
    return paths.length > 0 ? [...new Set(paths)] : null;
  } catch (error) {
    if (signal.aborted) throw error;
    return null;
  }
}

async function walked(directory: string): Promise<string[]> {
  const found: string[] = [];
  const waiting = [""];
  for (let below = waiting.pop(); below !== undefined && found.length <= MOST; below = waiting.pop()) {
    for (const entry of await readdir(join(directory, below), { withFileTypes: true })) {
      if (LEAVINGS.has(entry.name) || entry.name.endsWith(".egg-info")) continue;
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      if (entry.isDirectory()) waiting.push(path);
      else if (entry.isFile()) found.push(path);
    }
  }
  return found.sort();
}

/** null: it is no file, or has gone meanwhile.  Links are not followed: they may lead out of the project. */
async function packed(directory: string, path: string): Promise<Packed | null> {
  try {
    const full = join(directory, path);
    const facts = await lstat(full);
    if (!facts.isFile()) return null;
    return { path, content: await readFile(full), executable: (facts.mode & 0o100) !== 0, modified: facts.mtimeMs / 1000 };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}
