/** Directories of VMs as the tree shows them: kept until something has run in the VM, or somebody asks for a new look. */
import type { PoolClient } from "../api/client";
import type { FileInfo, PoolEvent } from "../api/types";

/** Entries that are shown of one directory. */
const MOST = 1000;

export class FileLists {
  /** By VM, then by path. */
  private readonly known = new Map<number, Map<string, Promise<readonly FileInfo[]>>>();

  /** What a directory holds: directories first, then by name.  A look that failed is not kept. */
  of(client: PoolClient, vmId: number, path: string): Promise<readonly FileInfo[]> {
    const paths = this.known.get(vmId) ?? new Map<string, Promise<readonly FileInfo[]>>();
    this.known.set(vmId, paths);
    const known = paths.get(path);
    if (known) return known;
    const looking = look(client, vmId, path);
    paths.set(path, looking);
    looking.catch(() => paths.delete(path));
    return looking;
  }

  forget(vmId: number): void {
    this.known.delete(vmId);
  }

  clear(): void {
    this.known.clear();
  }

  /** Whether this may have changed files. */
  hear({ type, vm_id }: PoolEvent): void {
    if (vm_id !== null && type !== "execution.running" && !type.startsWith("snapshot.")) this.forget(vm_id);
  }
}

async function look(client: PoolClient, vmId: number, path: string): Promise<readonly FileInfo[]> {
  const found = await client.all("/api/vms/{vm_id}/files/list", { path: { vm_id: vmId }, query: { path } }, MOST);
  return found.sort(byKindAndName);
}

function byKindAndName(one: FileInfo, other: FileInfo): number {
  const difference = Number(other.kind === "directory") - Number(one.kind === "directory");
  return difference || one.name.localeCompare(other.name);
}
