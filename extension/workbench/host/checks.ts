/** What is asked of the extension through the editor's API, inside the extension host; `host.test.ts` starts it. */
import { deepStrictEqual, ok, strictEqual } from "node:assert";
import { writeFileSync } from "node:fs";
import * as vscode from "vscode";
import type { Core } from "../../src/core";
import { fileChecks } from "./fileChecks";

interface Manifest {
  contributes: { commands: { command: string; title: string; category?: string }[] };
}

const EIGHT = ["Create VM", "List VMs", "Start VM", "Stop VM", "Execute in VM", "VM Status", "Delete VM", "Batch Execute"];

async function core(): Promise<Core> {
  const extension = vscode.extensions.getExtension<Core>("itechsmart.vmpool");
  ok(extension, "the extension is not there");
  return await extension.activate();
}

const checks: Record<string, () => Promise<void>> = {
  "every command of its manifest is registered, and the eight have their titles": async () => {
    const { context } = await core();
    const { commands } = (context.extension.packageJSON as Manifest).contributes;
    const registered = new Set(await vscode.commands.getCommands(true));
    deepStrictEqual(commands.map((one) => one.command).filter((id) => !registered.has(id)), []);
    const titles = commands.map((one) => (one.category === undefined ? one.title : `${one.category}: ${one.title}`));
    for (const title of EIGHT) ok(titles.includes(`iTechSmart: ${title}`), title);
  },

  "the pool is found by itself": async () => {
    const { connection, pool } = await core();
    await connection.client();
    deepStrictEqual((await pool.loaded()).map((vm) => vm.name), ["checked"]);
  },

  "a key is kept in the editor's secrets, and wins": async () => {
    const { connection } = await core();
    const { url } = (await connection.client()).endpoint;
    await connection.keepKey(url, "vmp_wrong");
    strictEqual((await connection.reconnect()).kind, "failed");
    await connection.keepKey(url, undefined);
    strictEqual((await connection.reconnect()).kind, "connected");
  },
};

/** Called by the extension host; the outcome of each goes to a file, since nobody sees this process's output. */
export async function run(): Promise<void> {
  const outcomes: Record<string, string | null> = {};
  for (const [name, check] of Object.entries({ ...checks, ...fileChecks })) {
    try {
      await check();
      outcomes[name] = null;
    } catch (error) {
      outcomes[name] = error instanceof Error ? (error.stack ?? error.message) : String(error);
    }
  }
  writeFileSync(process.env["VMPOOL_OUTCOMES"] ?? "", JSON.stringify(outcomes));
}
