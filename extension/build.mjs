// Bundles what the extension host loads, and what each webview loads, into dist/.  `--watch` goes on.
import { copyFileSync, existsSync, readFileSync, readdirSync } from "node:fs";
import { context } from "esbuild";

copyFileSync("../LICENSE", "LICENSE"); // the package carries its own

const shared = { bundle: true, minify: true, legalComments: "none", logLevel: "warning", target: "es2022" };
/**
 * The editor's API as one module that asks for it once, by the names the sources use.
 *
 * Left to itself, esbuild copies all of the API's hundreds of properties for each file that imports it, which takes
 * longer than all the rest of the activation.
 */
const editorAPI = {
  name: "editor API",
  setup(build) {
    build.onResolve({ filter: /^vscode$/ }, ({ namespace }) =>
      namespace === "editor" ? { path: "vscode", external: true } : { path: "vscode", namespace: "editor" },
    );
    build.onLoad({ filter: /.*/, namespace: "editor" }, () => {
      const sources = readdirSync("src", { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
      const texts = sources.map((file) => readFileSync(`src/${file}`, "utf8")).join("\n");
      const names = new Set([...texts.matchAll(/\bvscode\.([A-Za-z]\w*)/g)].map(([, name]) => name));
      const lines = [...names].sort().map((name) => `export const ${name} = /* @__PURE__ */ of("${name}");`);
      return { contents: ['const api = require("vscode");', "const of = (name) => api[name];", ...lines].join("\n") };
    });
  },
};

const targets = [
  {
    ...shared,
    entryPoints: { extension: "src/extension.ts" },
    outdir: "dist",
    platform: "node",
    format: "cjs",
    plugins: [editorAPI],
    external: ["bufferutil", "utf-8-validate"],
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
