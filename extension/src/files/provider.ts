/** Files of VMs in the editor: `vmpool:/<name of the VM>/<path>`; at `vmpool:/` stand the VMs themselves. */
import * as vscode from "vscode";
import { words } from "../api/problem";
import type { FileInfo } from "../api/types";
import type { Core } from "../core";
import { SCHEME, placeOf, vmUri } from "../vmUri";
import { failureOf, nameOf, type Failure } from "./failures";
import { Watches, covers, type Changed } from "./watches";

/** Links of one directory whose targets are looked at. */
const MOST_LINKS = 100;
const KINDS: Readonly<Record<Changed["kind"], vscode.FileChangeType>> = {
  created: vscode.FileChangeType.Created,
  changed: vscode.FileChangeType.Changed,
  deleted: vscode.FileChangeType.Deleted,
};
const { File, Directory, SymbolicLink, Unknown } = vscode.FileType;

export class VMFiles implements vscode.FileSystemProvider {
  private readonly changes = new vscode.EventEmitter<vscode.FileChangeEvent[]>();
  readonly onDidChangeFile = this.changes.event;

  private readonly watches: Watches;

  constructor(private readonly core: Core) {
    this.watches = new Watches(() => core.connection.client(), {
      changed: (vm, changes) => this.tell(changes.map(({ kind, path }) => ({ type: KINDS[kind], uri: vmUri({ name: vm }, path) }))),
      unsure: (place) => this.lookAt((vm, path) => covers(place, { vm, path, recursive: false })),
      failed: (place, error) => core.log.debug(`watching ${place.path} of ${place.vm}: ${words(error)}`),
    });
  }

  /** The server tells of what changes; nothing is asked again and again. */
  watch(uri: vscode.Uri, { recursive }: { readonly recursive: boolean }): vscode.Disposable {
    const { vm, path } = placeOf(uri);
    return new vscode.Disposable(vm === "" ? () => undefined : this.watches.add({ vm, path, recursive }));
  }

  /** A VM runs again: its files are watched again. */
  revive(vmName: string): void {
    this.watches.revive(vmName);
  }

  /** Something may have been changed in a VM: its open documents of which nobody tells are looked at again. */
  changedIn(vmName: string): void {
    this.lookAt((vm, path) => vm === vmName && !this.watches.has({ vm, path, recursive: false }));
  }

  private lookAt(wanted: (vm: string, path: string) => boolean): void {
    const open = vscode.workspace.textDocuments.filter(({ uri }) => {
      const { vm, path } = placeOf(uri);
      return uri.scheme === SCHEME && wanted(vm, path);
    });
    this.tell(open.map(({ uri }) => ({ type: vscode.FileChangeType.Changed, uri })));
  }

  async stat(uri: vscode.Uri): Promise<vscode.FileStat> {
    const { vm, path } = placeOf(uri);
    if (vm === "") return { type: Directory, ctime: 0, mtime: 0, size: 0 };
    const at = { path: { vm_id: vm }, query: { path, follow: true } };
    const client = await this.core.connection.client();
    const info = await this.asked(uri, () => client.request("get", "/api/vms/{vm_id}/files/stat", at));
    const modified = Math.floor(info.mtime_ns / 1e6);
    return { type: typeOf(info), ctime: modified, mtime: modified, size: info.size };
  }

  async readDirectory(uri: vscode.Uri): Promise<[string, vscode.FileType][]> {
    const { vm, path } = placeOf(uri);
    const client = await this.core.connection.client();
    if (vm === "") return (await this.core.pool.loaded()).map((one) => [one.name, Directory]);
    const at = { path: { vm_id: vm }, query: { path } };
    const found = await this.asked(uri, () => client.all("/api/vms/{vm_id}/files/list", at));
    let links = 0;
    const entries = found.map(async (info): Promise<[string, vscode.FileType] | null> => {
      const name = nameOf(info.encoded_name);
      if (name === null) return null;
      if (info.kind !== "link" || (links += 1) > MOST_LINKS) return [name, typeOf(info)];
      return [name, (await this.target(vscode.Uri.joinPath(uri, name))) | SymbolicLink];
    });
    return (await Promise.all(entries)).filter((entry) => entry !== null);
  }

  async readFile(uri: vscode.Uri): Promise<Uint8Array> {
    const { vm, path } = placeOf(uri);
    const client = await this.core.connection.client();
    const at = { path: { vm_id: vm }, query: { path } };
    return (await this.asked(uri, () => client.raw("get", "/api/vms/{vm_id}/files", at))).bytes;
  }

  async writeFile(
    uri: vscode.Uri,
    content: Uint8Array,
    options: { readonly create: boolean; readonly overwrite: boolean },
  ): Promise<void> {
    const { vm, path } = placeOf(uri);
    const client = await this.core.connection.client();
    const headers: Record<string, string> = {};
    if (!options.create) headers["if-match"] = "*";
    else if (!options.overwrite) headers["if-none-match"] = "*";
    const put = { path: { vm_id: vm }, query: { path }, bytes: content, headers };
    const there = options.create && options.overwrite ? await this.exists(uri) : !options.create;
    await this.asked(uri, () => client.raw("put", "/api/vms/{vm_id}/files", put), options.create ? "exists" : "notFound");
    this.tell([{ type: there ? vscode.FileChangeType.Changed : vscode.FileChangeType.Created, uri }]);
  }

  async createDirectory(uri: vscode.Uri): Promise<void> {
    const { vm, path } = placeOf(uri);
    const client = await this.core.connection.client();
    const at = { path: { vm_id: vm }, query: { path } };
    await this.asked(uri, () => client.request("post", "/api/vms/{vm_id}/files/directory", at));
    this.tell([{ type: vscode.FileChangeType.Created, uri }]);
  }

  async delete(uri: vscode.Uri, options: { readonly recursive: boolean }): Promise<void> {
    const { vm, path } = placeOf(uri);
    if (path === "/") throw vscode.FileSystemError.NoPermissions("This is the VM itself: “iTechSmart: Delete VM” deletes it.");
    const client = await this.core.connection.client();
    const at = { path: { vm_id: vm }, query: { path, recursive: options.recursive } };
    await this.asked(uri, () => client.request("delete", "/api/vms/{vm_id}/files", at));
    this.tell([{ type: vscode.FileChangeType.Deleted, uri }]);
  }

  async rename(from: vscode.Uri, to: vscode.Uri, options: { readonly overwrite: boolean }): Promise<void> {
    const { vm, path } = placeOf(from);
    const target = placeOf(to);
    if (target.vm !== vm) throw vscode.FileSystemError.NoPermissions("A file cannot move from one VM to another: copy it.");
    const client = await this.core.connection.client();
    const move = { path: { vm_id: vm }, query: { path, to: target.path, replace: options.overwrite } };
    await this.asked(from, () => client.request("post", "/api/vms/{vm_id}/files/move", move));
    this.tell([
      { type: vscode.FileChangeType.Deleted, uri: from },
      { type: vscode.FileChangeType.Created, uri: to },
    ]);
  }

  dispose(): void {
    this.watches.dispose();
    this.changes.dispose();
  }

  private async exists(uri: vscode.Uri): Promise<boolean> {
    try {
      await this.stat(uri);
      return true;
    } catch (error) {
      if (error instanceof vscode.FileSystemError && error.code === "FileNotFound") return false;
      throw error;
    }
  }

  private async target(uri: vscode.Uri): Promise<vscode.FileType> {
    try {
      return (await this.stat(uri)).type;
    } catch (error) {
      if (error instanceof vscode.FileSystemError) return Unknown; // it leads nowhere
      throw error;
    }
  }

  private async asked<T>(uri: vscode.Uri, ask: () => Promise<T>, expecting?: "exists" | "notFound"): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      throw FAILURES[failureOf(error, expecting)](uri, words(error));
    }
  }

  private tell(changes: vscode.FileChangeEvent[]): void {
    if (changes.length > 0) this.changes.fire(changes);
  }
}

/** Where the editor's own words say all, the address is given; else the server's words. */
const FAILURES: Readonly<Record<Failure, (uri: vscode.Uri, said: string) => vscode.FileSystemError>> = {
  notFound: (uri) => vscode.FileSystemError.FileNotFound(uri),
  exists: (uri) => vscode.FileSystemError.FileExists(uri),
  notADirectory: (uri) => vscode.FileSystemError.FileNotADirectory(uri),
  isADirectory: (uri) => vscode.FileSystemError.FileIsADirectory(uri),
  noPermissions: (_uri, said) => vscode.FileSystemError.NoPermissions(said),
  unavailable: (_uri, said) => vscode.FileSystemError.Unavailable(said),
};

function typeOf(info: FileInfo): vscode.FileType {
  switch (info.kind) {
    case "file":
      return File;
    case "directory":
      return Directory;
    case "link":
      return SymbolicLink;
    case "other":
      return Unknown;
  }
}
