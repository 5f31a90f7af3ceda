/** Inside a VM: its files in the editor, and a shell. */
import { expect, it } from "vitest";
import { vm } from "../pool";
import { opened } from "../session";

it("opens, edits and saves a file of a VM", async () => {
  await vm("create", "box", "python");
  await vm("execute", "box", "open('note.txt', 'w').write('as it was\\n')");
  const workbench = await opened();
  const { page } = workbench;
  await workbench.showTree();
  await workbench.row(/VM box/).click();
  await workbench.row("Files").click();
  await workbench.row(/note\.txt/).click();
  const editor = await workbench.editor("note.txt");
  await editor.getByText("as it was").click();
  await page.keyboard.press("Control+A");
  await page.keyboard.type("as it is");
  await page.locator(".tab.active.dirty").waitFor();
  await workbench.picture("extension-file");
  await page.keyboard.press("Control+S");
  await page.locator(".tab.active:not(.dirty)").waitFor();
  expect(await vm("execute", "box", "print(open('note.txt').read())")).toContain("as it is");
  // and what the VM makes of it shows
  await vm("execute", "box", "open('note.txt', 'w').write('changed inside')");
  await editor.getByText("changed inside").waitFor();
});

it("opens a shell in a VM", async () => {
  await vm("create", "box", "python");
  const workbench = await opened();
  const { page } = workbench;
  await workbench.command("iTechSmart: Open Terminal");
  const terminal = workbench.terminal;
  await terminal.getByText("$").first().waitFor();
  await page.keyboard.type("echo $((6 * 7)) on $(hostname) > said.txt; cat said.txt\n");
  await terminal.getByText("42 on box").waitFor();
  await workbench.picture("extension-terminal");
  await page.keyboard.type("exit\n");
  await terminal.waitFor({ state: "hidden" });
  expect(await vm("execute", "box", "print(open('said.txt').read())")).toContain("42 on box");
});
