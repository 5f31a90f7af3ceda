import { readFileSync, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";

const BUILT = new URL("../dist/", import.meta.url);
const scripts = readdirSync(BUILT, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".js"));

describe("what was built", () => {
  it("is under 500 kB, all of it together", () => {
    const bytes = scripts.map((file) => readFileSync(new URL(file, BUILT)).length).reduce((sum, size) => sum + size, 0);
    expect(scripts).toContain("extension.js");
    expect(bytes).toBeGreaterThan(20_000);
    expect(bytes).toBeLessThan(500_000);
  });

  it("asks only for what the editor and Node.js have", () => {
    const text = readFileSync(new URL("extension.js", BUILT), "utf8");
    const asked = [...text.matchAll(/\brequire\("([^"]+)"\)/g)].map(([, name]) => name ?? "");
    expect(asked.filter((name) => name !== "vscode" && !NODE.has(name.replace(/^node:/, "")))).toEqual([]);
  });
});

/** Parts of Node.js; the last two are what ws would use where they are, and does without. */
const NODE = new Set([
  ..."buffer child_process crypto events fs fs/promises http https net os path querystring stream timers tls url util zlib".split(" "),
  ..."bufferutil utf-8-validate".split(" "),
]);
