/** The pool beside the editor: its API and its command line, as anyone else would use them. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect } from "vitest";

const URL_OF_SERVER = needed("VMPOOL_URL");
const KEY = needed("VMPOOL_API_KEY");
const VM = needed("VMPOOL_COMMAND");

export async function api<T>(method: string, path: string, body?: object): Promise<T> {
  const init: RequestInit = { method, headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" } };
  if (body) init.body = JSON.stringify(body);
  const answer = await fetch(`${URL_OF_SERVER}${path}`, init);
  const text = await answer.text();
  expect(answer.ok, text).toBe(true);
  return (text === "" ? null : JSON.parse(text)) as T;
}

/** Run `vm` with these words; what it prints. */
export async function vm(...words: string[]): Promise<string> {
  return (await promisify(execFile)(VM, words)).stdout;
}

export async function deleteAll(): Promise<void> {
  for (const one of await api<{ id: number }[]>("GET", "/api/vms")) await api("DELETE", `/api/vms/${one.id}`);
}

/** A variable of the environment, which tests/e2e/test_extension.py sets. */
export function needed(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run tests/e2e/test_extension.py`);
  return value;
}
