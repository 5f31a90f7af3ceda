/** Code of the editor, run in VMs: its results, and its errors where they were made. */
import { expect, it } from "vitest";
import { vm } from "../pool";
import { opened } from "../session";

const CELLS = `# %%
total = sum(range(10))
total

# %%
class Cities(dict):
    def _repr_html_(self):
        rows = [f"<tr><td>{city}<td>{people}" for city, people in self.items()]
        return "<table><tr><th>city<th>people" + "".join(rows) + "</table>"

Cities(Bern=144000, Geneva=209000)

# %%
def share(people):
    return total / people

share(0)
`;

it("runs the selection and the file", async () => {
  await vm("create", "box", "python");
  const workbench = await opened({ "work.py": "print('first')\nprint('second')\n" });
  const { output, page } = workbench;
  const editor = await workbench.openFile("work.py");
  await editor.getByText("second").click();
  await page.keyboard.press("Home");
  await page.keyboard.press("Shift+End");
  await workbench.command("iTechSmart: Run Selection in VM");
  await output.getByText("box: exit 0").waitFor();
  expect(await output.innerText()).not.toContain("first");
  await workbench.command("iTechSmart: Run File in VM");
  await output.getByText("first", { exact: true }).waitFor();
});

it("shows errors of programs and compilers in the editor", async () => {
  await vm("create", "box", "python");
  const workbench = await opened({ "work.py": "def broken(x):\n    return x / 0\n\n\nbroken(1)\n", "work.c": "int main(void) {\n    return wrong;\n}\n" });
  const { page } = workbench;
  const editor = await workbench.openFile("work.py");
  await workbench.command("iTechSmart: Run File in VM");
  await editor.locator(".squiggly-error").first().waitFor();
  await workbench.command("Problems: Focus on Problems View");
  await workbench.problem(/ZeroDivisionError: division by zero/).waitFor();
  await workbench.problem(/ZeroDivisionError/).getByText("[Ln 2, Col").waitFor();
  await workbench.picture("extension-problems");
  await workbench.openFile("work.c");
  await workbench.command("iTechSmart: Run File in VM");
  await workbench.output.getByText("box: could not be compiled").waitFor();
  await workbench.command("Problems: Focus on Problems View");
  await workbench.problem(/wrong.*undeclared/).waitFor();
  // who has put it right is not told of it any more
  await workbench.openFile("work.py");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("print('well')");
  await workbench.command("iTechSmart: Run File in VM");
  await workbench.output.getByText("box: exit 0").waitFor();
  await workbench.command("Problems: Focus on Problems View");
  await workbench.problem(/wrong.*undeclared/).waitFor();
  expect(await workbench.problem(/ZeroDivisionError/).count()).toBe(0);
});

it("keeps what a cell made for the next, and shows tables beside the code", async () => {
  await vm("create", "box", "python");
  const workbench = await opened({ "cells.py": CELLS });
  await workbench.showTree();
  const editor = await workbench.openFile("cells.py");
  await expect.poll(async () => await editor.getByText("Run Cell in VM").count(), { timeout: 45_000 }).toBe(3);
  await editor.getByText("Run Cell in VM").first().click();
  const results = await workbench.webview("VM Results");
  await results.getByText("45", { exact: true }).waitFor();
  await editor.getByText("Run Cell in VM").nth(1).click();
  await results.frameLocator("iframe.page").getByRole("cell", { name: "Bern" }).waitFor();
  await editor.getByText("Run Cell in VM").nth(2).click();
  await results.getByText("ZeroDivisionError").first().waitFor();
  await editor.locator(".squiggly-error").first().waitFor();
  await workbench.picture("extension-results");
});

it("runs in all VMs, and shows equal outputs once", async () => {
  for (const name of ["one", "two", "three"]) await vm("create", name, "python");
  const workbench = await opened({ "work.py": "import platform\nprint('odd' if platform.node() == 'two' else 'even')\n" });
  await workbench.openFile("work.py");
  await workbench.command("iTechSmart: Choose VM to Run In");
  await workbench.choose("in which VM?", "All running VMs");
  await workbench.command("iTechSmart: Run File in VM");
  const results = await workbench.webview("VM Results");
  await results.getByText("even", { exact: true }).waitFor();
  await results.getByText("odd", { exact: true }).waitFor();
  expect(await results.getByText("even", { exact: true }).count()).toBe(1);
  await results.getByRole("heading", { name: /(one, three|three, one)/ }).waitFor();
});
