/** What the tests of what a user sees share: a workbench each, closed after, and a pool with nothing in it. */
import { type Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, inject } from "vitest";
import { deleteAll } from "./pool";
import { Workbench, launched, workspace } from "./workbench";

let browser: Browser;
let current: Workbench | undefined;

beforeAll(async () => {
  browser = await launched();
});
afterAll(() => browser.close());
beforeEach(deleteAll);
afterEach(async ({ task }) => {
  if (task.result?.state === "fail") await current?.picture(`failed-${task.name.replace(/\W+/g, "-")}`);
  await current?.close();
  current = undefined;
  await deleteAll();
});

/** An editor on a workspace with these files, as its user first sees it. */
export async function opened(files: Record<string, string> = {}, colorScheme: "light" | "dark" = "light"): Promise<Workbench> {
  const { url, directory } = inject("editor");
  current = await Workbench.open(browser, url, workspace(directory, files), colorScheme);
  return current;
}
