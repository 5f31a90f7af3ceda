/** The workspace's pytest suite, in VMs of its own. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { api, needed } from "../pool";
import { opened } from "../session";

/** pytest and what it needs, sent with the project: a VM here may reach no registry. */
const PYTEST = ["pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"];
const SETTINGS = { "vmpool.testVMs": 2, "vmpool.testCommand": "PYTHONPATH=vendor python3 -m pytest" };

function copyTo(directory: string, name: string): void {
  cpSync(join(needed("PYTEST_FROM"), name), join(directory, name), { recursive: true });
}

it("runs the tests of the workspace in VMs, and says which fail and where", async () => {
  const workbench = await opened(
    {
      "test_sums.py": "def test_good():\n    assert 1 + 1 == 2\n\n\ndef test_bad():\n    assert 1 + 1 == 3\n",
      "test_place.py": "import platform\n\n\ndef test_inside():\n    assert platform.node().startswith('tests-')\n",
      ".vscode/settings.json": JSON.stringify(SETTINGS),
    },
    { prepare: (folder) => PYTEST.forEach((name) => copyTo(join(folder, "vendor"), name)) },
  );
  const { page } = workbench;
  await workbench.openFile("test_sums.py");
  await workbench.command("Testing: Focus on Test Explorer View");
  const explorer = page.locator(".test-explorer");
  await explorer.getByText("test_sums.py").waitFor();
  await workbench.command("Test: Run All Tests");
  await explorer.locator(".result-summary").getByText("2/3").waitFor();
  await page.locator(".editor-instance").getByText("assert (1 + 1) == 3").waitFor();
  await workbench.picture("extension-tests");
  expect(await api("GET", "/api/vms")).toEqual([]); // they are deleted afterwards
});
