/** The terminal in the page, by a WebSocket that the session's cookie opens. */
import { afterEach, describe, expect, it } from "vitest";
import type { VM } from "../src/api/types";
import { api, looksRight, opened, signIn } from "./page";

afterEach(async () => {
  for (const vm of (await api("GET", "/api/vms")) as VM[]) await api("DELETE", `/api/vms/${vm.id}`);
});

describe.each(["desktop", "phone"] as const)("a terminal at the size of a %s", (size) => {
  it("is a real one, and ends when its page is left", async () => {
    const vm = (await api("POST", "/api/vms/create", { name: "work", language: "bash" })) as VM;
    const { page, wrong } = await opened(size);
    await signIn(page);
    await page.goto(`${page.url().split("#")[0] ?? ""}#/vms/${vm.id}/terminal`);
    const rows = page.locator(".xterm-rows");
    await rows.getByText("$").first().waitFor({ timeout: 45_000 });
    await page.keyboard.type("clear; stty size; printf '\\033[38;2;255;120;0mtrue%s\\033[0m %s\\n' colour $((20 + 22))\n");
    await rows.getByText("truecolour", { exact: true }).waitFor();
    expect(await rows.innerText()).toContain("truecolour 42");
    const [height = 0, width = 0] = (/(\d+) (\d+)/.exec(await rows.innerText()) ?? []).slice(1).map(Number);
    expect(height).toBeGreaterThan(10);
    expect(width).toBeGreaterThan(size === "desktop" ? 80 : 25);
    const colour = await rows.getByText("truecolour", { exact: true }).evaluate((element) => getComputedStyle(element).color);
    expect(colour).toBe("rgb(255, 120, 0)");

    // keys that are the browser's elsewhere are the shell's here, and one leads out again
    await page.keyboard.type("sleep 600\n");
    await page.keyboard.press("Control+C");
    await page.keyboard.type("echo ended $?\n");
    await rows.getByText("ended 130").waitFor();
    await page.keyboard.press("F6");
    await expect.poll(() => page.evaluate("document.activeElement.textContent")).toBe("New shell");
    await looksRight(page, `terminal-${size}`);

    await page.setViewportSize({ width: 700, height: 800 });
    await page.locator(".screen").click();
    await page.keyboard.type("clear; stty size\n");
    await expect
      .poll(async () => Number(/\d+ (\d+)/.exec(await rows.innerText())?.[1] ?? 0))
      .toSatisfy((columns: number) => columns > 0 && columns !== width);

    await page.keyboard.type("exit 3\n");
    await page.getByText("The shell has ended with 3.").waitFor();
    await page.getByRole("button", { name: "New shell" }).click();
    await rows.getByText("$").first().waitFor();
    await page.getByRole("link", { name: "Run code" }).click();
    await expect
      .poll(async () => ((await api("GET", `/api/vms/${vm.id}/status`)) as { executions: number }).executions)
      .toBe(0);
    expect(wrong).toEqual([]);
  });
});
