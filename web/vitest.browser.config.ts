import { defineConfig } from "vitest/config";

// Run by tests/e2e/test_dashboard.py, which starts the server that these tests look at.
export default defineConfig({
  test: {
    include: ["browser/**/*.test.ts"],
    environment: "node",
    testTimeout: 180_000,
    retry: 2, // beside a whole test suite a browser may be slower than any wait
    hookTimeout: 60_000,
    fileParallelism: false,
    bail: 1,
  },
});
