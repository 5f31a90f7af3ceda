/** The checks of `checks.ts`, run where the extension runs. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { startEditor } from "../editor";
import type { Editor } from "../editor";
import { api, deleteAll } from "../pool";
import { launched, workspace } from "../workbench";

const EXTENSION = join(import.meta.dirname, "..", "..");

let directory: string;
let editor: Editor;
let browser: Browser;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "vmpool-checks-"));
  await build({
    entryPoints: [join(import.meta.dirname, "checks.ts")],
    outfile: join(directory, "checks.cjs"),
    bundle: true,
    platform: "node",
    format: "cjs",
    external: ["vscode"],
  });
  editor = await startEditor({ driver: true, env: { VMPOOL_OUTCOMES: join(directory, "outcomes.json") } });
  browser = await launched();
});
afterAll(async () => {
  await browser.close();
  await editor.stop();
  rmSync(directory, { recursive: true });
});
beforeEach(deleteAll);

it("passes every check inside the extension host", async () => {
  await api("POST", "/api/vms/create", { name: "checked", language: "python" });
  const context = await browser.newContext();
  const page = await context.newPage();
  const ended = new Promise<number>((resolve, reject) => {
    page.exposeFunction("codeAutomationExit", resolve).catch(reject);
  });
  await page.exposeFunction("codeAutomationLog", () => undefined);
  const address = new URL(editor.url);
  const remote = (path: string): string => `vscode-remote://${address.host}${path}`;
  const tests = "def test_sum():\n    assert 1 + 1 == 2\n";
  address.searchParams.set("folder", workspace(editor.directory, { "test_sample.py": tests }));
  address.searchParams.set("payload", JSON.stringify([
    ["extensionDevelopmentPath", remote(EXTENSION)],
    ["extensionTestsPath", remote(join(directory, "checks.cjs"))],
  ]));
  await page.goto(address.href);
  expect(await ended).toBe(0);
  const outcomes = JSON.parse(readFileSync(join(directory, "outcomes.json"), "utf8")) as Record<string, string | null>;
  for (const [name, failure] of Object.entries(outcomes)) console.log(`${failure === null ? "passed" : "FAILED"}: ${name}`);
  expect(Object.values(outcomes).filter((failure) => failure !== null)).toEqual([]);
  await context.close();
});
