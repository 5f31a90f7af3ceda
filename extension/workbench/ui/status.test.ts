/** The status panel: the pool as it is, and as it goes on. */
import { expect, it } from "vitest";
import { api, vm } from "../pool";
import { opened } from "../session";

it("shows VMs with live charts, what they run and what that says", async () => {
  await vm("create", "busy", "python");
  await vm("create", "idle", "bash");
  await api("POST", "/api/vms/busy/execute", { code: "print('at work', flush=True)\nwhile True: pass", background: true });
  const workbench = await opened({}, { colorScheme: "dark" });
  await workbench.showTree();
  await workbench.command("iTechSmart: VM Status");
  const panel = await workbench.webview("VM Status");
  await panel.getByText("2 of 10 VMs").waitFor();
  const busy = panel.getByRole("listitem").filter({ hasText: "busy" });
  await busy.getByText("running", { exact: true }).waitFor();
  await busy.getByText(/runs 1/).waitFor();
  await panel.getByRole("button", { name: /^busy/ }).press("Enter");
  await panel.getByRole("log").getByText("at work").waitFor();
  await expect.poll(async () => await busy.getByRole("img").first().getAttribute("aria-label"), { timeout: 45_000 }).toMatch(/CPU.*[1-9]/);
  await workbench.picture("extension-status");

  await panel.getByRole("button", { name: /^Cancel execution/ }).press("Enter");
  await panel.getByRole("row").filter({ hasText: "at work" }).getByText(/exit|cancel/).waitFor();
  await panel.getByRole("button", { name: "Stop idle" }).press("Enter");
  await panel.getByRole("listitem").filter({ hasText: "idle" }).getByText("stopped", { exact: true }).waitFor();
  await vm("create", "from-a-shell", "bash");
  await panel.getByRole("listitem").filter({ hasText: "from-a-shell" }).getByText("running", { exact: true }).waitFor();
});
