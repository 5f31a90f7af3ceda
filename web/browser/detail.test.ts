/** The parts of a VM's page, against a real VM. */
import { afterEach, describe, expect, it } from "vitest";
import type { VM } from "../src/api/types";
import { api, looksRight, opened, signIn } from "./page";

afterEach(async () => {
  for (const vm of (await api("GET", "/api/vms")) as VM[]) await api("DELETE", `/api/vms/${vm.id}`);
});

async function run(command: string): Promise<void> {
  await api("POST", "/api/vms/work/execute", { command });
}

describe.each(["desktop", "phone"] as const)("a VM's page at the size of a %s", (size) => {
  it("has logs that go on while they are searched", async () => {
    const vm = (await api("POST", "/api/vms/create", { name: "work", language: "python" })) as VM;
    await run("printf 'alpha\\nbeta\\nAlphabet\\n'; echo oh >&2");
    const { page, wrong } = await opened(size);
    await signIn(page);
    await page.goto(`${page.url().split("#")[0] ?? ""}#/vms/${vm.id}/logs`);
    await page.getByText("4 lines", { exact: true }).waitFor();
    await page.getByLabel("Search").fill("alpha");
    await page.getByText("2 of 4 lines").waitFor();
    expect(await page.locator("mark").allInnerTexts()).toEqual(["alpha", "Alpha"]);
    await run("echo and alpha");
    await page.getByText("3 of 5 lines").waitFor();
    await looksRight(page, `logs-${size}`);
    expect(wrong).toEqual([]);
  });

  it("has what it reached, and rules for that", async () => {
    const vm = (await api("POST", "/api/vms/create", { name: "work", language: "python", network: "filtered" })) as VM;
    const { page, wrong } = await opened(size);
    await signIn(page);
    await page.goto(`${page.url().split("#")[0] ?? ""}#/vms/${vm.id}/network`);
    await page.getByText("It has not tried to reach anything yet").waitFor();
    await page.getByLabel("May not reach").fill("forbidden.example, *.forbidden.example");
    await page.getByRole("button", { name: "Set these rules" }).click();
    await page.getByText("These rules hold from now on").waitFor();
    await run("python3 -c \"import socket; socket.create_connection(('forbidden.example', 80), 2).recv(1)\"");
    await page.getByRole("cell", { name: "forbidden.example:80" }).first().waitFor();
    await page.getByRole("cell", { name: "refused" }).first().waitFor();
    await looksRight(page, `network-${size}`);
    expect(wrong).toEqual([]);
  });

  it("has files, and snapshots to go back to", async () => {
    const vm = (await api("POST", "/api/vms/create", { name: "work", language: "python" })) as VM;
    await run("mkdir -p data; echo inside > data/note.txt");
    const { page, wrong } = await opened(size);
    await signIn(page);
    await page.getByRole("link", { name: "work" }).click();
    const parts = page.getByRole("navigation", { name: "Parts of work" });
    await parts.getByRole("link", { name: "Files" }).click();
    await page.getByRole("button", { name: "data/" }).click();
    await page.getByRole("heading", { name: "/home/user/data" }).waitFor();
    await page.getByLabel("Upload").setInputFiles({
      name: "größe & 100%.txt",
      mimeType: "text/plain",
      buffer: Buffer.from("uploaded"),
    });
    await page.getByRole("button", { name: "größe & 100%.txt", exact: true }).click();
    await page.getByLabel("Text of größe & 100%.txt").getByText("uploaded").waitFor();
    await page.keyboard.press("Escape");
    await looksRight(page, `files-${size}`);
    const downloading = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download note.txt" }).click();
    expect((await downloading).suggestedFilename()).toBe("note.txt");

    await parts.getByRole("link", { name: "Snapshots" }).click();
    await page.getByText("No snapshot yet").waitFor();
    await page.getByLabel("Name of a new snapshot").fill("before");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Restore before" }).waitFor();
    await run("rm -r data");
    await looksRight(page, `snapshots-${size}`);
    await page.getByRole("button", { name: "Restore before" }).click();
    await page.getByRole("button", { name: "Restore snapshot" }).click();
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.getByRole("heading", { name: "work running" }).waitFor();
    await run("test -f data/note.txt && rm data/note.txt");
    const found = (await api("GET", `/api/vms/${vm.id}/files/list?path=data`)) as { name: string }[];
    expect(found.map((file) => file.name)).toEqual(["größe & 100%.txt"]);

    await page.getByRole("button", { name: "Delete before" }).click();
    await page.getByRole("button", { name: "Delete snapshot" }).click();
    await page.getByText("No snapshot yet").waitFor();
    await page.getByRole("button", { name: "Fork this VM" }).click();
    await page.getByRole("heading", { name: "work-1 running" }).waitFor();

    await page.getByRole("link", { name: "Files" }).click();
    await page.getByRole("button", { name: "Delete data" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete", exact: true }).click();
    await page.getByText("Nothing is in this directory").waitFor();
    expect(wrong).toEqual([]);
  });

  it("has figures that move, and links to ports", async () => {
    const vm = (await api("POST", "/api/vms/create", { name: "work", language: "python" })) as VM;
    await api("POST", "/api/vms/work/execute", { code: "while True: pass", background: true });
    const { page, wrong } = await opened(size, "dark");
    await signIn(page);
    await page.goto(`${page.url().split("#")[0] ?? ""}#/vms/${vm.id}/figures`);
    const cpu = page.getByRole("img", { name: /^CPU/ }).locator("path");
    await expect.poll(async () => ((await cpu.getAttribute("d")) ?? "").split("L").length, { timeout: 45_000 }).toBeGreaterThan(2);
    await looksRight(page, `figures-${size}-dark`);
    await page.getByRole("link", { name: "Ports" }).click();
    const server = "echo served by the VM > index.html; exec python3 -m http.server 8000 --bind 127.0.0.1";
    await api("POST", "/api/vms/work/execute", { command: server, background: true });
    await page.getByRole("button", { name: "Make a link" }).click();
    const link = (await page.locator(".share a").getAttribute("href")) ?? "";
    await looksRight(page, `ports-${size}-dark`);
    const shared = await page.context().newPage();
    await expect
      .poll(async () => {
        await shared.goto(link);
        return await shared.locator("body").innerText();
      }, { timeout: 45_000 })
      .toContain("served by the VM");
    // the VM's pages are on a host of their own, without the session
    expect(await shared.evaluate("document.cookie")).not.toContain("vmpool_session");
    expect((await shared.context().cookies(link)).map((cookie) => cookie.name)).not.toContain("vmpool_session");
    await page.getByRole("button", { name: "End all its links" }).click();
    await page.getByText("No link to port 8000 works any more.").waitFor();
    expect((await shared.goto(link))?.status()).toBeGreaterThanOrEqual(400);
    expect(wrong).toEqual([]);
  });
});
