import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";

const BUILT = new URL("../../src/vmpool/web/", import.meta.url);
const files = readdirSync(BUILT, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => `${entry.parentPath}/${entry.name}`);

describe("what was built", () => {
  it("is under 250 kB on the first load, compressed", () => {
    const bytes = files.map((file) => gzipSync(readFileSync(file)).length).reduce((sum, size) => sum + size, 0);
    expect(files.length).toBeGreaterThan(2);
    expect(bytes).toBeGreaterThan(5_000);
    expect(bytes).toBeLessThan(250_000);
  });

  it("loads nothing from elsewhere", () => {
    for (const file of files) {
      // names of XML's own namespaces are no addresses that anything loads
      const text = readFileSync(file, "utf8").replaceAll(/http:\/\/www\.w3\.org\/[\w/.]+/g, "");
      expect(text.match(/(?:https?:)?\/\/[\w.-]+\.\w+/g) ?? [], file).toEqual([]);
    }
  });
});
