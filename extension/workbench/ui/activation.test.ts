/** How long the extension takes to be active, as the editor itself measures it.  A figure, not a check. */
import { expect, it } from "vitest";
import { opened } from "../session";

const TIMES = Number(process.env["VMPOOL_ACTIVATIONS"] ?? 1);

it("is active soon", async () => {
  const found: number[] = [];
  for (let time = 0; time < TIMES; time += 1) {
    const workbench = await opened();
    await workbench.page.locator(".statusbar").getByText("0/10").waitFor();
    await workbench.page.setViewportSize({ width: 1280, height: 2400 }); // the list has only the rows that are seen
    await workbench.command("Developer: Show Running Extensions");
    const row = workbench.page.locator(".runtime-extensions-editor .monaco-list-row").filter({ hasText: /^vmpool/ });
    const text = await row.getByText(/Activation: \d+ms/).innerText();
    found.push(Number(/(\d+)ms/.exec(text)?.[1]));
    await workbench.close();
  }
  found.sort((one, other) => one - other);
  expect(found.every(Number.isFinite)).toBe(true);
  console.log(`activation: median ${found[Math.floor(TIMES / 2)] ?? NaN} ms of ${TIMES} (${found.join(", ")})`);
});
