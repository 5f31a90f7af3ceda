/** The dashboard in Chromium, against a server with real VMs; started by tests/e2e/test_dashboard.py. */
import { describe, expect, it } from "vitest";
import { api, looksRight, opened, signIn } from "./page";

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

    await page.getByRole("button", { name: `Pause box-${size}` }).press("Enter");
    await page.getByRole("heading", { name: `box-${size} paused` }).waitFor();
    await page.getByRole("button", { name: `Resume box-${size}` }).press("Enter");
    await page.getByRole("heading", { name: `box-${size} running` }).waitFor();

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
    expect(await page.evaluate("document.cookie + JSON.stringify({ ...localStorage, ...sessionStorage })")).toBe(
      '{"vmpool.session":"begun"}',
    );
    await page.reload();
    await page.getByRole("heading", { name: "Virtual machines" }).waitFor();
    let asked = 0;
    page.on("request", (request) => {
      if (request.url().endsWith("/api/session") && request.method() === "GET") asked += 1;
    });
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await page.reload();
    await page.getByLabel("API key").waitFor();
    expect(asked).toBe(0); // it would be a try without a key
    // one that has ended is asked about once
    await page.evaluate("localStorage.setItem('vmpool.session', 'begun')");
    await page.reload();
    await page.getByText("Your session has ended").waitFor();
    expect(asked).toBe(1);
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
