/** The workbench as its user sees it: palette, pickers, side bar, editors, panels, notifications. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Browser, type BrowserContext, type Frame, type Locator, type Page, chromium, errors } from "playwright-core";

const PICTURES = process.env["VMPOOL_PICTURES"];
const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];

export function launched(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: [...ARGUMENTS, "--disable-component-update", "--disable-sync"],
  });
}

/** A directory with these files, for the editor to open. */
export function workspace(directory: string, files: Record<string, string>): string {
  const made = mkdtempSync(join(directory, "work-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(made, name)), { recursive: true });
    writeFileSync(join(made, name), text);
  }
  return made;
}

export class Workbench {
  private constructor(
    readonly page: Page,
    private readonly context: BrowserContext,
  ) {}

  /** Open a folder in a browser that has never seen the editor. */
  static async open(browser: Browser, url: string, folder: string, colorScheme: "light" | "dark" = "light"): Promise<Workbench> {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      colorScheme,
      reducedMotion: "reduce",
      permissions: ["clipboard-read", "clipboard-write"],
    });
    const page = await context.newPage();
    page.setDefaultTimeout(45_000);
    await page.goto(`${url}/?folder=${encodeURIComponent(folder)}`);
    const opened = new Workbench(page, context);
    await page.locator(".monaco-workbench").waitFor();
    // the icon of the extension: what it contributes is known by then
    await opened.icon.waitFor();
    return opened;
  }

  async close(): Promise<void> {
    await this.context.close();
  }

  /** What the extension puts into the activity bar. */
  get icon(): Locator {
    return this.page.locator(".activitybar .action-label[aria-label^='VM Pool']");
  }

  /** Run a command by its exact title, from the palette. */
  async command(title: string): Promise<void> {
    const row = this.picker.locator(".monaco-list-row.focused");
    const wanted = row.and(this.page.locator(`[aria-label='${title}'], [aria-label^='${title},']`));
    for (let tried = 1; ; tried += 1) {
      await this.page.keyboard.press("F1");
      await this.picker.locator("input").first().fill(`>${title}`);
      try {
        await wanted.waitFor({ timeout: 12_000 });
        break;
      } catch (error) {
        // a palette that is open learns of no new command: one that was not there yet is looked for again
        if (!(error instanceof errors.TimeoutError) || tried === 4) throw error;
        await this.page.keyboard.press("Escape");
      }
    }
    await this.page.keyboard.press("Enter");
  }

  /** The box of the palette, of quick picks and of input boxes. */
  get picker(): Locator {
    return this.page.locator(".quick-input-widget");
  }

  /** Wait until a picker or an input box of this title asks. */
  async asked(title: string | RegExp): Promise<void> {
    await this.picker.locator(".quick-input-title", { hasText: title }).waitFor();
  }

  /** Wait for a question, and type its answer. */
  async answer(title: string | RegExp, text: string): Promise<void> {
    await this.asked(title);
    await this.picker.locator("input[type=text]").last().fill(text);
    await this.page.keyboard.press("Enter");
  }

  /** Press a button in the title of the picker that asks. */
  async pressed(name: string): Promise<void> {
    await this.picker.locator(`.quick-input-titlebar .action-label[aria-label^='${name}']`).click();
  }

  /** A row of the picker that asks. */
  option(text: string | RegExp): Locator {
    return this.picker.locator(".monaco-list-row", { hasText: text });
  }

  /** Wait for a question, and take the first answer that contains this text. */
  async choose(title: string | RegExp, text: string | RegExp): Promise<void> {
    await this.asked(title);
    await this.option(text).first().click();
  }

  notification(text: string | RegExp): Locator {
    return this.page.locator(".notifications-toasts .notification-list-item", { hasText: text });
  }

  /** The modal dialog, which the page shows by itself. */
  get dialog(): Locator {
    return this.page.locator(".monaco-dialog-box");
  }

  /** A row of the tree in the side bar. */
  row(label: string | RegExp): Locator {
    return this.page.locator(".sidebar").getByRole("treeitem", { name: label });
  }

  async showTree(): Promise<void> {
    if ((await this.icon.getAttribute("aria-expanded")) !== "true") await this.icon.click();
    await this.page.locator(".sidebar .pane.vertical").first().waitFor();
  }

  /** The lines of the panel's output channel. */
  get output(): Locator {
    return this.page.locator(".panel .output-view .view-lines, .panel .view-lines").first();
  }

  /** Open a file of the workspace. */
  async openFile(name: string): Promise<Locator> {
    await this.page.keyboard.press("Control+P");
    await this.picker.locator("input").first().fill(name);
    await this.picker.locator(`.monaco-list-row.focused[aria-label^='${name}']`).waitFor();
    await this.page.keyboard.press("Enter");
    return await this.editor(name);
  }

  /** The editor of a file that is open, once its text shows. */
  async editor(name: string): Promise<Locator> {
    await this.page.locator(`.tab.active[data-resource-name='${name}']`).waitFor();
    const editor = this.page.locator(".editor-group-container.active .monaco-editor").first();
    await editor.locator(".view-line").first().waitFor();
    return editor;
  }

  /** A line of the Problems view. */
  problem(text: string | RegExp): Locator {
    return this.page.locator(".markers-panel .monaco-list-row", { hasText: text });
  }

  /** The text of the terminal that is in front. */
  get terminal(): Locator {
    return this.page.locator(".terminal-wrapper.active .xterm-rows");
  }

  /** The document inside the webview of this title: a frame in a frame. */
  async webview(title: string): Promise<Frame> {
    for (let tried = 0; tried < 450; tried += 1) {
      for (const frame of this.page.frames()) {
        const element = frame.name() === "" || frame.isDetached() ? null : await frame.frameElement().catch(() => null);
        if ((await element?.getAttribute("title").catch(() => null)) === title) return frame;
      }
      await this.page.waitForTimeout(100);
    }
    throw new Error(`there is no webview “${title}”`);
  }

  /** Leave a picture, where they are asked for. */
  async picture(name: string): Promise<void> {
    if (PICTURES !== undefined) await this.page.screenshot({ path: `${PICTURES}/${name}.png` });
  }
}
