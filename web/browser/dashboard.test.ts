/** The dashboard in Chromium, against a server with real VMs; started by tests/e2e/test_dashboard.py. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Browser, type BrowserContext, type Page, chromium } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";

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
async function opened(
  size: keyof typeof SIZES,
  colorScheme: "light" | "dark" = "light",
): Promise<{ page: Page; wrong: string[] }> {
  context = await browser.newContext({ viewport: SIZES[size], colorScheme, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
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

async function signIn(page: Page): Promise<void> {
  await page.getByLabel("API key").fill(KEY);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Virtual machines" }).waitFor();
}

/** Nothing that axe knows of WCAG 2.2 AA is wrong, nor does anything reach out of the window. */
async function looksRight(page: Page, picture: string): Promise<void> {
  // through the debugger, past the page's policy, which admits no such script
  const found = await page.evaluate(`(() => { ${AXE}; return axe.run(document, { runOnly: { type: "tag",
    values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] } }); })()`);
  const { violations } = found as { violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] };
  expect(violations.map((one) => `${one.id}: ${JSON.stringify(one.nodes.map((node) => [node.html, node.failureSummary]))}`)).toEqual([]);
  const over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  expect(over).toBe(0);
  if (PICTURES !== undefined) await page.screenshot({ path: `${PICTURES}/${picture}.png`, fullPage: true });
}

async function api(method: string, path: string, body?: object): Promise<unknown> {
  const init: RequestInit = { method, headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" } };
  if (body) init.body = JSON.stringify(body);
  const answer = await fetch(`${URL_OF_SERVER}${path}`, init);
  const text = await answer.text();
  expect(answer.ok, text).toBe(true);
  return text === "" ? null : JSON.parse(text);
}

describe.each(["desktop", "phone"] as const)("at the size of a %s", (size) => {
  it("goes from nothing to a program's output, by keys alone, and back to nothing", async () => {
    const { page, wrong } = await opened(size);
    await page.getByLabel("API key").waitFor();
    await looksRight(page, `sign-in-${size}`);
    await signIn(page);
    await page.getByText("No VM yet").waitFor();
    await looksRight(page, `empty-${size}`);

    await page.getByRole("button", { name: "New VM" }).press("Enter");
    const name = page.getByRole("textbox", { name: "Name" });
    expect(await name.inputValue()).toBe("python-1");
    await name.fill(`box-${size}`);
    await looksRight(page, `create-${size}`);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: `box-${size} running` }).waitFor();

    const code = page.getByRole("textbox", { name: "Code" });
    const output = page.locator("pre.output");
    await code.press("Control+Enter");
    await page.getByText(/^Done after/).waitFor();
    expect(await output.innerText()).toContain(`Hello from box-${size}`);

    // it is shown while it runs, and Cancel ends it
    await code.fill("import sys, time\nprint('first', flush=True)\nprint('oh', file=sys.stderr, flush=True)\ntime.sleep(600)");
    await code.press("Control+Enter");
    await output.getByText("first").waitFor();
    await output.locator(".stderr", { hasText: "oh" }).waitFor();
    await looksRight(page, `run-${size}`);
    await page.getByRole("button", { name: "Cancel" }).press("Enter");
    await page.getByText("Cancelled: the program was ended.").waitFor();
    await expect.poll(async () => ((await api("GET", `/api/vms/box-${size}/status`)) as { executions: number }).executions).toBe(0);

    // what fails is a result
    await code.fill("raise SystemExit(3)");
    await code.press("Control+Enter");
    await page.getByText(/^Exit code 3 after/).waitFor();

    await page.getByRole("button", { name: `Stop box-${size}` }).press("Enter");
    await page.getByRole("heading", { name: `box-${size} stopped` }).waitFor();
    expect(await page.getByRole("button", { name: "Run", exact: true }).isDisabled()).toBe(true);
    await page.getByRole("button", { name: `Start box-${size}` }).press("Enter");
    await page.getByRole("heading", { name: `box-${size} running` }).waitFor();

    // nothing is deleted unasked
    const remove = page.getByRole("button", { name: `Delete box-${size}` });
    await remove.press("Enter");
    await looksRight(page, `delete-${size}`);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await remove.evaluate((element) => element === document.activeElement)).toBe(true);
    await remove.press("Enter");
    await page.getByRole("button", { name: "Delete VM" }).press("Enter");
    await page.getByText("No VM yet").waitFor();
    expect(await api("GET", "/api/vms")).toEqual([]);
    expect(wrong).toEqual([]);
  });

  it("shows at once what others do, without asking again", async () => {
    const { page, wrong } = await opened(size, "dark");
    await signIn(page);
    await page.getByText("No VM yet").waitFor();
    let asked = 0;
    page.on("request", (request) => {
      if (request.url().endsWith("/api/vms?limit=100")) asked += 1;
    });
    await api("POST", "/api/vms/create", { name: "from-elsewhere", language: "python" });
    await api("POST", "/api/vms/create", { name: "another", language: "bash" });
    const row = page.getByRole("listitem").filter({ hasText: "from-elsewhere" });
    await row.getByText("running", { exact: true }).waitFor();
    await api("POST", "/api/vms/another/stop");
    await page.getByRole("listitem").filter({ hasText: "another" }).getByText("stopped", { exact: true }).waitFor();
    await page.getByText("2 of 10", { exact: true }).waitFor();
    await looksRight(page, `list-${size}-dark`);
    await api("DELETE", "/api/vms/another");
    await page.getByRole("link", { name: "another" }).waitFor({ state: "detached" });
    await page.getByRole("link", { name: "from-elsewhere" }).click();
    await api("DELETE", "/api/vms/from-elsewhere");
    await page.getByRole("heading", { name: "This VM is not there" }).waitFor();
    expect(asked).toBe(0);
    expect(wrong).toEqual([]);
  });
});

describe("a session", () => {
  it("needs a key that works, is out of scripts' reach, and ends", async () => {
    const { page, wrong } = await opened("desktop");
    await page.getByLabel("API key").fill("vmp_wrong");
    await page.keyboard.press("Enter");
    await page.getByText("This key does not work").waitFor();
    await looksRight(page, "refused-desktop");
    await signIn(page);
    expect(await page.evaluate("document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })")).toBe("{}");
    await page.reload();
    await page.getByRole("heading", { name: "Virtual machines" }).waitFor();
    // a second tab signs out: this one hears of it with its next request
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await page.reload();
    await page.getByLabel("API key").waitFor();
    expect(wrong).toEqual([]);
  });

  it("lets no script in that is not the dashboard's own", async () => {
    const { page, wrong } = await opened("desktop");
    await page.getByLabel("API key").waitFor();
    await page.evaluate(`{
      const script = document.createElement("script");
      try { script.textContent = "window.broken = true"; document.body.append(script); } catch { /* refused */ }
      document.body.setAttribute("onclick", "window.broken = true");
      document.body.click();
    }`).catch(() => undefined);
    expect(await page.evaluate("window.broken")).toBeUndefined();
    expect(wrong.some((text) => text.includes("Content Security Policy") || text.includes("TrustedScript"))).toBe(true);
  });
});

function needed(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run tests/e2e/test_dashboard.py`);
  return value;
}
