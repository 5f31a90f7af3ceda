/** What the tests of what a user sees share: a workbench each, closed after, and a pool with nothing in it. */
import type { Browser } from "playwright-core";
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

export interface Opening {
  /** Another editor than the one that all tests share. */
  editor?: { url: string; directory: string };
  colorScheme?: "light" | "dark";
  /** Adds to the workspace before it is opened. */
  prepare?: (folder: string) => void;
}

/** An editor on a workspace with these files, as its user first sees it. */
export async function opened(files: Record<string, string> = {}, opening: Opening = {}): Promise<Workbench> {
  const { url, directory } = opening.editor ?? inject("editor");
  const folder = workspace(directory, files);
  opening.prepare?.(folder);
  current = await Workbench.open(browser, url, folder, opening.colorScheme);
  return current;
}
