/** What the browser's tests share: pages on the dashboard, a look at them, and the API beside them. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, type BrowserContext, type Page, chromium } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect } from "vitest";

const URL_OF_SERVER = needed("VMPOOL_URL");
const KEY = needed("VMPOOL_API_KEY");
const PICTURES = process.env["VMPOOL_PICTURES"];
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } } as const;

let browser: Browser;
let context: BrowserContext;

beforeAll(async () => {
  browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  });
});
afterAll(() => browser.close());
afterEach(() => context.close());

/** A page on the dashboard, and everything that went wrong on it: refused by its policy, or thrown. */
export async function opened(
  size: keyof typeof SIZES,
  colorScheme: "light" | "dark" = "light",
): Promise<{ page: Page; wrong: string[] }> {
  context = await browser.newContext({ viewport: SIZES[size], colorScheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(45_000);
  const wrong: string[] = [];
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("console", (message) => {
    // what the browser itself says of an answer 401 is no failure of the page
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) wrong.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(URL_OF_SERVER) && !request.url().startsWith("data:")) wrong.push(request.url());
  });
  await page.goto(URL_OF_SERVER);
  return { page, wrong };
}

export async function signIn(page: Page): Promise<void> {
  await page.getByLabel("API key").fill(KEY);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Virtual machines" }).waitFor();
}

/** Nothing that axe knows of WCAG 2.2 AA is wrong, nor does anything reach out of the window. */
export async function looksRight(page: Page, picture: string): Promise<void> {
  // through the debugger, past the page's policy, which admits no such script
  const found = await page.evaluate(`(() => { ${AXE}; return axe.run(document, { runOnly: { type: "tag",
    values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] } }); })()`);
  const { violations } = found as { violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] };
  expect(violations.map((one) => `${one.id}: ${JSON.stringify(one.nodes.map((node) => [node.html, node.failureSummary]))}`)).toEqual([]);
  const over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  expect(over).toBe(0);
  if (PICTURES !== undefined) await page.screenshot({ path: `${PICTURES}/${picture}.png`, fullPage: true });
}

export async function api(method: string, path: string, body?: object): Promise<unknown> {
  const init: RequestInit = { method, headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" } };
  if (body) init.body = JSON.stringify(body);
  const answer = await fetch(`${URL_OF_SERVER}${path}`, init);
  const text = await answer.text();
  expect(answer.ok, text).toBe(true);
  return text === "" ? null : JSON.parse(text);
}

function needed(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run tests/e2e/test_dashboard.py`);
  return value;
}
