import { defineConfig } from "vite";

export default defineConfig({
  build: {
    outDir: "../src/vmpool/web",
    emptyOutDir: true,
    assetsInlineLimit: 0, // nothing inline: the content-security policy admits files only
    modulePreload: { polyfill: false },
    target: "es2023",
  },
});
