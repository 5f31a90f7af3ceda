/** Batch, keys and administration. */
import { afterEach, describe, expect, it } from "vitest";
import type { APIKey, VM } from "../src/api/types";
import { api, looksRight, opened, signIn } from "./page";

afterEach(async () => {
  for (const vm of (await api("GET", "/api/vms")) as VM[]) await api("DELETE", `/api/vms/${vm.id}`);
});

describe.each(["desktop", "phone"] as const)("at the size of a %s", (size) => {
  it("a batch shows each result as it comes", async () => {
    const { page, wrong } = await opened(size);
    await signIn(page);
    const pages = page.getByRole("navigation", { name: "Pages" });
    await pages.getByRole("link", { name: "Batch" }).click();
    await page.getByText("None is running").waitFor();
    for (const name of ["one", "two", "three"]) await api("POST", "/api/vms/create", { name, language: "bash" });
    await page.getByRole("button", { name: "Run in 3" }).waitFor(); // by the event stream
    await page.getByRole("checkbox", { name: "two" }).press("Space");
    await page.getByLabel("Command").fill("hostname; if [ $(hostname) = one ]; then sleep 2; echo no >&2; exit 4; fi");
    await page.keyboard.press("Enter");
    await page.getByText("1 of 2 have ended").waitFor();
    expect(await page.getByLabel("Output of three").innerText()).toContain("three");
    await page.getByText("2 of 2 have ended").waitFor();
    await page.getByText("exit 4").waitFor();
    expect(await page.getByLabel("Output of one").innerText()).toContain("no");
    await looksRight(page, `batch-${size}`);
    expect(wrong).toEqual([]);
  });

  it("a key is made, shown once, and revoked", async () => {
    const { page, wrong } = await opened(size, "dark");
    await signIn(page);
    await page.getByRole("link", { name: "Keys" }).click();
    await page.getByLabel("What it is for").fill(`reader-${size}`);
    for (const scope of ["execute", "manage"]) await page.getByRole("checkbox", { name: scope }).uncheck();
    await page.getByRole("button", { name: "Make a key" }).click();
    const key = await page.getByLabel("The key", { exact: true }).innerText();
    await looksRight(page, `key-${size}-dark`);
    await page.getByRole("button", { name: "I have it" }).click();
    expect(await page.content()).not.toContain(key);
    const made = ((await api("GET", "/api/keys")) as APIKey[]).find((each) => each.name === `reader-${size}`);
    expect(made?.scopes).toEqual(["read"]);

    // who signs in with it looks, and is offered nothing else
    const other = await page.context().browser()?.newContext();
    const reader = await other?.newPage();
    if (reader === undefined) throw new Error("no other browser");
    await reader.goto(page.url().split("#")[0] ?? "");
    await reader.getByLabel("API key").fill(key);
    await reader.keyboard.press("Enter");
    await reader.getByRole("heading", { name: "Virtual machines" }).waitFor();
    expect(await reader.getByRole("button").allInnerTexts()).toEqual(["Sign out"]);

    await looksRight(page, `keys-${size}-dark`);
    await page.getByRole("button", { name: `Revoke reader-${size}` }).click();
    await page.getByRole("button", { name: "Revoke key" }).click();
    await page.getByText(`reader-${size}`).waitFor({ state: "detached" });
    await reader.reload();
    await reader.getByLabel("API key").waitFor();
    await other?.close();
    expect(wrong).toEqual([]);
  });

  it("administrators see who takes what, and who did what", async () => {
    await api("POST", "/api/vms/create", { name: "audited", language: "bash" });
    const { page, wrong } = await opened(size);
    await signIn(page);
    await page.getByRole("link", { name: "Administration" }).click();
    await page.getByRole("rowheader", { name: "owner (administrator)" }).waitFor();
    await page.getByRole("cell", { name: "create_vm" }).first().waitFor();
    await looksRight(page, `administration-${size}`);
    expect(wrong).toEqual([]);
  });
});
