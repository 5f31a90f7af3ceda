/** Files of a VM, as any extension reads and writes files. */
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert";
import * as vscode from "vscode";

/** A VM that `host.test.ts` has made. */
const HOME = vscode.Uri.parse("vmpool:/checked/home/user");

export const fileChecks: Record<string, () => Promise<void>> = {
  "files of a VM are written and read": async () => {
    const file = vscode.Uri.joinPath(HOME, "größe & 100%.txt");
    const bytes = Buffer.from([0, 255, 10, 195, 164]);
    await vscode.workspace.fs.writeFile(file, bytes);
    deepStrictEqual(Buffer.from(await vscode.workspace.fs.readFile(file)), bytes);
    const stat = await vscode.workspace.fs.stat(file);
    deepStrictEqual([stat.type, stat.size], [vscode.FileType.File, 5]);
    ok(Math.abs(stat.mtime - Date.now()) < 3_600_000);
    await vscode.workspace.fs.delete(file);
  },

  "directories are made, listed, renamed and deleted": async () => {
    const directory = vscode.Uri.joinPath(HOME, "some", "deep");
    await vscode.workspace.fs.createDirectory(directory);
    await vscode.workspace.fs.writeFile(vscode.Uri.joinPath(directory, "one.txt"), Buffer.from("one"));
    await vscode.workspace.fs.rename(vscode.Uri.joinPath(HOME, "some"), vscode.Uri.joinPath(HOME, "other"));
    const other = vscode.Uri.joinPath(HOME, "other");
    deepStrictEqual(await vscode.workspace.fs.readDirectory(other), [["deep", vscode.FileType.Directory]]);
    const moved = vscode.Uri.joinPath(other, "deep");
    deepStrictEqual(await vscode.workspace.fs.readDirectory(moved), [["one.txt", vscode.FileType.File]]);
    await vscode.workspace.fs.copy(vscode.Uri.joinPath(moved, "one.txt"), vscode.Uri.joinPath(moved, "two.txt"));
    strictEqual(Buffer.from(await vscode.workspace.fs.readFile(vscode.Uri.joinPath(moved, "two.txt"))).toString(), "one");
    await vscode.workspace.fs.delete(other, { recursive: true });
    await rejects(async () => await vscode.workspace.fs.stat(other), { code: "FileNotFound" });
  },

  "what is not there, or in the way, is an error of its own kind": async () => {
    const missing = vscode.Uri.joinPath(HOME, "missing");
    await rejects(async () => await vscode.workspace.fs.readFile(missing), { code: "FileNotFound" });
    await rejects(async () => await vscode.workspace.fs.readDirectory(missing), { code: "FileNotFound" });
    await rejects(async () => await vscode.workspace.fs.stat(vscode.Uri.parse("vmpool:/nobody/home/user")), {
      code: "FileNotFound",
    });
    const [one, two] = ["one", "two"].map((name) => vscode.Uri.joinPath(HOME, name));
    ok(one && two);
    await vscode.workspace.fs.writeFile(one, Buffer.from("1"));
    await vscode.workspace.fs.writeFile(two, Buffer.from("2"));
    await rejects(async () => await vscode.workspace.fs.rename(one, two), { code: "FileExists" });
    strictEqual(Buffer.from(await vscode.workspace.fs.readFile(two)).toString(), "2");
    await vscode.workspace.fs.rename(one, two, { overwrite: true });
    strictEqual(Buffer.from(await vscode.workspace.fs.readFile(two)).toString(), "1");
  },

  "a document of a VM is edited and saved": async () => {
    const file = vscode.Uri.joinPath(HOME, "open.txt");
    await vscode.workspace.fs.writeFile(file, Buffer.from("first"));
    const document = await vscode.workspace.openTextDocument(file);
    strictEqual(document.getText(), "first");
    const edit = new vscode.WorkspaceEdit();
    edit.insert(file, new vscode.Position(0, 5), " and more");
    ok(await vscode.workspace.applyEdit(edit));
    ok(await document.save());
    strictEqual(Buffer.from(await vscode.workspace.fs.readFile(file)).toString(), "first and more");
  },
};
