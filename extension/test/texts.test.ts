import { describe, expect, it } from "vitest";
import type { Execution, VM, VMStatus } from "../src/api/types";
import { sizeOf } from "../src/sizes";
import { described, freeName, keptName, languageOf, nameProblem, templateNameProblem } from "../src/languages";
import { LineMixer } from "../src/run/lines";
import { executionDescription, executionIcon, executionLabel, vmDescription, vmIcon, vmTooltip } from "../src/views/labels";

const VM_OF_TEST = {
  name: "box", status: "running", language: "python", template: "python", cpu_limit: 1, memory_limit: 512,
  disk_limit: 1024, network: "filtered", isolation: "namespaces", backend: "bubblewrap", warnings: [] as string[],
  error: null, expires_at: null,
} as unknown as VM;
const FIGURES = { cpu_percent: 42.4, memory_bytes: 64 * 2 ** 20, disk_bytes: null, executions: 1 } as unknown as VMStatus;
const EXECUTION = {
  id: 3, code: "\n  print(1)\n", state: "finished", exit_code: 0, execution_time: 0.0421, timed_out: false,
  oom_killed: false, terminal: false,
} as unknown as Execution;

describe("what the tree reads", () => {
  it("says figures where there are some, limits before, else the state", () => {
    expect(vmDescription(VM_OF_TEST, undefined)).toBe("python · 1 core · 512 MB");
    expect(vmDescription(VM_OF_TEST, FIGURES)).toBe("42 % · 64 MB of 512 MB · runs 1");
    expect(vmDescription({ ...VM_OF_TEST, status: "stopped" }, FIGURES)).toBe("stopped");
  });

  it("has an icon for each state, and one that turns for each intent", () => {
    expect(vmIcon("running").name).toBe("vm-running");
    expect(vmIcon("restoring").name).toBe("loading~spin");
  });

  it("lets nothing that a VM is called become Markdown", () => {
    const text = vmTooltip({ ...VM_OF_TEST, warnings: ["[x](command:y) <b>"] }, FIGURES);
    expect(text).not.toMatch(/\[x\]\(command/);
    expect(text).not.toContain("<b>".slice(0, 2) + "b");
    expect(text).toContain("64 MB of 512 MB");
  });

  it("says how an execution ended", () => {
    expect(executionLabel(EXECUTION)).toBe("print(1)");
    expect(executionDescription(EXECUTION)).toBe("exit 0, 42 ms");
    expect(executionDescription({ ...EXECUTION, timed_out: true, execution_time: 12.34 })).toBe("time limit, 12.3 s");
    expect(executionDescription({ ...EXECUTION, state: "running", terminal: true })).toBe("terminal");
    expect(executionIcon({ ...EXECUTION, exit_code: 1 }).name).toBe("error");
    expect(executionIcon({ ...EXECUTION, state: "lost" }).name).toBe("circle-slash");
  });
});

describe("names, languages and sizes", () => {
  it("finds a name that is free", () => {
    expect(freeName("python", ["python-1", "python-3"])).toBe("python-2");
    for (const template of ["python3.11", "my_own.", "...", "x".repeat(63)]) {
      expect(nameProblem(freeName(template, []), []), template).toBeUndefined();
    }
    const kept = keptName("a".repeat(39) + "-b", new Date("2026-11-27T10:42:33.5Z"));
    expect(kept).toBe(`${"a".repeat(39)}-20261127-104233`);
    expect(templateNameProblem(kept)).toBeUndefined();
    for (const name of ["", "A", "-a", "a-", "a b", "a".repeat(64)]) expect(templateNameProblem(name), name).toBeTruthy();
  });

  it("says what is wrong with a name", () => {
    for (const name of ["a", "box-1", "a".repeat(63)]) expect(nameProblem(name, []), name).toBeUndefined();
    for (const name of ["", "A", "a_b", "-a", "a-", "12", "a".repeat(64)]) expect(nameProblem(name, []), name).toBeTruthy();
    expect(nameProblem("box", ["box"])).toMatch(/already/);
  });

  it("knows the editor's languages that the pool has", () => {
    expect(languageOf("javascript")).toBe("nodejs");
    expect(languageOf("shellscript")).toBe("bash");
    expect(languageOf("python")).toBe("python");
    expect(languageOf("markdown")).toBeNull();
    expect(languageOf("constructor")).toBeNull();
    expect(described("python3.12").label).toBe("Python 3.12");
    expect(described("my-own-2").label).toBe("my-own-2");
  });

  it("reads a size", () => {
    expect(sizeOf("1.5, 1024 2048")).toEqual({ cpu_limit: 1.5, memory_limit: 1024, disk_limit: 2048 });
    for (const text of ["", "1, 2", "1, 2, 3, 4", "0, 1, 1", "1, 1.5, 1", "a, 1, 1"]) expect(sizeOf(text), text).toBeNull();
  });
});

describe("the lines of several VMs", () => {
  it("puts whole lines together, each with its VM's name", () => {
    const mixer = new LineMixer(false);
    expect(mixer.add("a", "one\ntw")).toBe("a │ one\n");
    expect(mixer.add("b", "x\n")).toBe("b │ x\n");
    expect(mixer.add("a", "o\n")).toBe("a │ two\n");
    expect(mixer.add("b", "rest")).toBe("");
    expect(mixer.end("b")).toBe("b │ rest\n");
    expect(mixer.end("a")).toBe("");
  });

  it("leaves a single VM's output as it comes, and ends its last line", () => {
    const mixer = new LineMixer(true);
    expect(mixer.add("a", "1\n")).toBe("1\n");
    expect(mixer.end("a")).toBe("");
    expect(mixer.add("a", "2")).toBe("2");
    expect(mixer.end("a")).toBe("\n");
  });
});
