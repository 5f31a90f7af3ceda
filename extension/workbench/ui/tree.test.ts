/** The tree of VMs is live: what others do to the pool shows by itself. */
import { expect, it } from "vitest";
import { vm } from "../pool";
import { opened } from "../session";

it("follows what is done from the command line", async () => {
  const workbench = await opened();
  await workbench.showTree();
  await workbench.page.locator(".sidebar").getByText("Create VM").waitFor(); // nothing there yet: it says how to begin

  await vm("create", "from-a-shell", "python");
  await workbench.row(/VM from-a-shell, running/).waitFor();
  await vm("create", "another", "bash");
  await workbench.row(/VM another, running/).waitFor();
  await vm("stop", "another");
  await workbench.row(/VM another, stopped/).waitFor();
  await workbench.page.locator(".statusbar").getByText("2/10").waitFor();

  // what is open stays open while the rest changes
  await workbench.row(/VM from-a-shell/).click();
  await workbench.row("Executions").click();
  await vm("execute", "from-a-shell", "print(6 * 7)");
  await workbench.row(/print\(6 \* 7\).*exit 0/).waitFor();
  await workbench.row("Files").click();
  await vm("execute", "from-a-shell", "open('made.txt', 'w').write('here')");
  await workbench.picture("extension-tree");

  await vm("delete", "another");
  await workbench.row(/VM another/).waitFor({ state: "detached" });
  await workbench.page.locator(".statusbar").getByText("1/10").waitFor();
  expect(await workbench.row(/VM from-a-shell/).getAttribute("aria-expanded")).toBe("true");
});
