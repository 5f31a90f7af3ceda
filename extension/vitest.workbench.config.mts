import { defineConfig } from "vitest/config";

// Run by tests/e2e/test_extension.py, which starts the server whose VMs these tests use.
export default defineConfig({
  test: {
    include: ["workbench/**/*.test.ts"],
    environment: "node",
    globalSetup: "workbench/setup.ts",
    testTimeout: 120_000,
    retry: 2, // beside a whole test suite an editor in a browser may be slower than any wait
    hookTimeout: 120_000,
    fileParallelism: false,
    bail: 1,
  },
});
