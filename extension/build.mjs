// Bundles what the extension host loads, and what each webview loads, into dist/.  `--watch` goes on.
import { copyFileSync, existsSync } from "node:fs";
import { context } from "esbuild";

copyFileSync("../LICENSE", "LICENSE"); // the package carries its own

const shared = { bundle: true, minify: true, legalComments: "none", logLevel: "warning", target: "es2022" };
const targets = [
  {
    ...shared,
    entryPoints: { extension: "src/extension.ts" },
    outdir: "dist",
    platform: "node",
    format: "cjs",
    external: ["vscode", "bufferutil", "utf-8-validate"],
  },
  ...["status", "results"]
    .map((name) => ({ name, entry: `src/${name}/webview/main.ts` }))
    .filter(({ entry }) => existsSync(entry))
    .map(({ name, entry }) => ({
      ...shared,
      entryPoints: { [name]: entry },
      outdir: "dist/webview",
      platform: "browser",
      format: "iife",
    })),
];

for (const target of targets) {
  const building = await context(target);
  if (process.argv.includes("--watch")) await building.watch();
  else {
    await building.rebuild();
    await building.dispose();
  }
}
