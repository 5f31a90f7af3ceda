import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import manifest from "../package.json";
import { COMMANDS } from "../src/commandIds";

const { contributes } = manifest;

/** The specification's titles, exactly. */
const SPECIFIED = {
  "vmpool.createVM": "iTechSmart: Create VM",
  "vmpool.listVMs": "iTechSmart: List VMs",
  "vmpool.startVM": "iTechSmart: Start VM",
  "vmpool.stopVM": "iTechSmart: Stop VM",
  "vmpool.executeInVM": "iTechSmart: Execute in VM",
  "vmpool.vmStatus": "iTechSmart: VM Status",
  "vmpool.deleteVM": "iTechSmart: Delete VM",
  "vmpool.batchExecute": "iTechSmart: Batch Execute",
};

const sources = readdirSync("src", { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !file.endsWith("schema.d.ts"))
  .map((file) => ({ file, text: readFileSync(`src/${file}`, "utf8") }));

describe("the manifest", () => {
  it("has the specification's eight commands, with no category that would stand before their titles", () => {
    for (const [command, title] of Object.entries(SPECIFIED)) {
      const found = contributes.commands.find((one) => one.command === command);
      expect(found, command).toMatchObject({ title });
      expect(found, command).not.toHaveProperty("category");
    }
  });

  it("declares exactly the commands the code knows", () => {
    expect(contributes.commands.map(({ command }) => command).sort()).toEqual([...COMMANDS].sort());
  });

  it("declares exactly the commands the code registers", () => {
    const registered = sources.flatMap(({ text }) =>
      [...text.matchAll(/command\(\s*core,\s*"(vmpool\.\w+)"/g)].map(([, command]) => command),
    );
    expect(registered.sort()).toEqual([...COMMANDS].sort());
  });

  it("keeps the eight in vmCommands.ts", () => {
    const text = sources.find(({ file }) => file === "vmCommands.ts")?.text ?? "";
    for (const command of Object.keys(SPECIFIED)) expect(text).toContain(`command(core, "${command}"`);
  });

  it("puts only commands into menus that there are", () => {
    for (const entries of Object.values(contributes.menus)) {
      for (const entry of entries) if ("command" in entry) expect(COMMANDS).toContain(entry.command);
    }
  });

  it("describes every setting, and keeps those that decide where a key is sent out of a workspace's hands", () => {
    const settings = contributes.configuration.properties;
    for (const [name, setting] of Object.entries(settings)) {
      const said = "description" in setting ? setting.description : setting.markdownDescription;
      expect(said, name).toMatch(/\.$/);
    }
    for (const name of ["vmpool.server", "vmpool.command", "vmpool.certificateAuthority"] as const) {
      expect(settings[name].scope).toBe("machine");
    }
  });

  it("reads no setting that it does not describe", () => {
    const read = sources.flatMap(({ text }) =>
      [...text.matchAll(/(?:settings\(\)|settings|getConfiguration\("vmpool"\))\.get(?:<\w+>)?\("(\w+)"/g)].map(
        ([, name]) => `vmpool.${name ?? ""}`,
      ),
    );
    expect(read.length).toBeGreaterThan(3);
    for (const name of read) expect(Object.keys(contributes.configuration.properties)).toContain(name);
  });
});
