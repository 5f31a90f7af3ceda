/** The first minutes of a user on a machine where no server runs: each click counts. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, it } from "vitest";
import { startEditor } from "../editor";
import type { Editor } from "../editor";
import { needed } from "../pool";
import { opened } from "../session";
import { PACKAGE } from "../setup";

const COMMAND = needed("VMPOOL_COMMAND");

let state: string;
let editor: Editor;

beforeAll(async () => {
  state = mkdtempSync(join(tmpdir(), "vmpool-first-"));
  editor = await startEditor({ vsix: PACKAGE, env: { VMPOOL_STATE_DIR: state }, programs: dirname(COMMAND) });
});
afterAll(async () => {
  await editor.stop();
  const env: NodeJS.ProcessEnv = { ...process.env, VMPOOL_STATE_DIR: state };
  for (const name of ["VMPOOL_URL", "VMPOOL_API_KEY"]) Reflect.deleteProperty(env, name); // of the other tests' server
  const vm = (...words: string[]): void => void execFileSync(COMMAND, words, { env, stdio: "pipe" });
  if (existsSync(join(state, "server.json"))) {
    vm("delete", "python-1");
    vm("serve", "--stop");
  }
  rmSync(state, { recursive: true });
});

it("comes from nothing to a program's output in five steps", { retry: 0 }, async () => {
  const workbench = await opened({ "hello.py": "print('Hello from a VM')\n" }, { editor });
  const { page } = workbench;
  const sidebar = page.locator(".sidebar");
  await workbench.openFile("hello.py");
  await workbench.icon.click(); // 1
  await sidebar.getByRole("button", { name: "Start Server" }).click(); // 2
  await sidebar.getByRole("button", { name: "Create VM" }).last().click(); // 3
  await workbench.asked("Create VM (1 of 2)");
  await page.keyboard.press("Enter");
  await workbench.asked("Create VM (2 of 2)");
  await page.keyboard.press("Enter"); // 4
  const row = workbench.row(/VM python-1, running/);
  await row.hover();
  await row.getByRole("button", { name: "Execute in VM" }).click();
  await workbench.asked("Execute what?");
  await page.keyboard.press("Enter"); // 5
  await workbench.output.getByText("Hello from a VM").waitFor();
});
