/** One editor, with the extension installed as users install it, for all tests of what a user sees. */
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startEditor } from "./editor";

declare module "vitest" {
  interface ProvidedContext {
    editor: { url: string; directory: string };
  }
}

export const PACKAGE = join(import.meta.dirname, "..", "dist", "vmpool.vsix");

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const editor = await startEditor({ vsix: PACKAGE });
  project.provide("editor", { url: editor.url, directory: editor.directory });
  return () => editor.stop();
}
