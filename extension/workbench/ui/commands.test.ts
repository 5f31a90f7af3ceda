/** The eight commands of the specification, each from the palette by its exact title, on real VMs. */
import { expect, it } from "vitest";
import { api } from "../pool";
import { opened } from "../session";

/** The pool's VMs as it says itself: name and state. */
async function states(): Promise<Record<string, string>> {
  const vms = await api<{ name: string; status: string }[]>("GET", "/api/vms");
  return Object.fromEntries(vms.map((vm) => [vm.name, vm.status]));
}

it("goes through a VM's life by the eight commands", async () => {
  const workbench = await opened({ "hello.py": "import platform\nprint('Hello from', platform.node())\n" });
  const { dialog, page } = workbench;
  await workbench.showTree();
  await workbench.openFile("hello.py");

  await workbench.command("iTechSmart: Create VM");
  await workbench.asked("Create VM (1 of 2)");
  await workbench.option("Python").first().waitFor(); // the open file's language is offered first
  await workbench.picture("extension-create");
  await page.keyboard.press("Enter");
  await workbench.asked("Create VM (2 of 2)");
  await page.keyboard.press("Enter");
  await workbench.row(/VM python-1, running/).waitFor();
  await workbench.command("iTechSmart: Create VM");
  await workbench.choose("Create VM (1 of 2)", "Bash");
  await workbench.asked("Create VM (2 of 2)");
  await workbench.pressed("Limits");
  await workbench.choose("Limits of the new VM", "Small");
  await workbench.answer("Create VM (2 of 2)", "second");
  await workbench.row(/VM second, running/).waitFor();
  expect(await states()).toEqual({ "python-1": "running", second: "running" });

  await workbench.command("iTechSmart: List VMs");
  await workbench.asked("VMs: 2");
  await workbench.option("python-1").waitFor();
  await workbench.option("second").waitFor();
  await page.keyboard.press("Escape");

  await workbench.command("iTechSmart: Execute in VM");
  await workbench.choose("Execute in which VM?", "python-1");
  await workbench.choose("Execute what?", "File");
  await workbench.output.getByText("Hello from python-1").waitFor();
  await workbench.output.getByText("python-1: exit 0").waitFor();

  await workbench.command("iTechSmart: Batch Execute");
  await workbench.asked("Execute in which VMs?"); // all are marked at first
  await page.keyboard.press("Enter");
  await workbench.choose("Execute what?", "Shell command");
  await workbench.answer("Execute: shell command", "echo batch on $(hostname)");
  await workbench.output.getByText("batch on python-1").waitFor();
  await workbench.output.getByText("batch on second").waitFor();

  await workbench.command("iTechSmart: VM Status");
  await (await workbench.webview("VM Status")).getByText("2 of 10 VMs").waitFor();

  await workbench.command("iTechSmart: Stop VM");
  await workbench.choose("Stop which VM?", "second");
  await workbench.row(/VM second, stopped/).waitFor();
  expect((await states())["second"]).toBe("stopped");

  await workbench.command("iTechSmart: Start VM");
  await workbench.row(/VM second, running/).waitFor(); // the only one that is stopped

  // nothing is deleted unasked
  await workbench.command("iTechSmart: Delete VM");
  await workbench.choose("Delete which VM?", "second");
  await dialog.getByText(/Delete the VM .second./).waitFor();
  await workbench.picture("extension-delete");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  expect(Object.keys(await states()).sort()).toEqual(["python-1", "second"]);
  await workbench.command("iTechSmart: Delete VM");
  await workbench.choose("Delete which VM?", "second");
  await dialog.getByRole("button", { name: "Delete", exact: true }).click();
  await workbench.row(/VM second/).waitFor({ state: "detached" });
  expect(Object.keys(await states())).toEqual(["python-1"]);
});
