import { expect, test } from "vitest";
import type { VM, VMStatus } from "../src/api/types";
import { Past } from "../src/status/look";
import { fromPanel } from "../src/status/messages";
import { MOST_SAMPLES, extended, lineOf, spoken, summed, type Sample } from "../src/status/series";

const sample = (at: number, cpu: number | null = 1): Sample => ({ at, cpu, memory: null });

test("what is too old is forgotten", () => {
  let samples: readonly Sample[] = [];
  for (let at = 0; at < MOST_SAMPLES + 5; at++) samples = extended(samples, sample(at));
  expect(samples).toHaveLength(MOST_SAMPLES);
  expect(samples[0]?.at).toBe(5);
});

test("figures of several VMs add up; what is not known is none", () => {
  expect(summed(9, [{ at: 1, cpu: 10, memory: 5 }, { at: 2, cpu: 20, memory: null }, undefined])).toEqual({ at: 9, cpu: 30, memory: 5 });
  expect(summed(9, [])).toEqual({ at: 9, cpu: null, memory: null });
});

test("a line ends at the right, has gaps, and stays within its box", () => {
  const box = { width: MOST_SAMPLES - 1, height: 10 };
  const right = box.width;
  expect(lineOf([0, 50, 500], 100, box)).toBe(`M${right - 2}.0 10.0L${right - 1}.0 5.0L${right}.0 0.0`);
  expect(lineOf([0, null, 100], 100, box)).toBe(`M${right - 2}.0 10.0M${right}.0 0.0`);
  expect(lineOf([7], 0, box)).toBe(`M${right}.0 10.0`);
});

test("a chart is told to who does not see it", () => {
  const write = (value: number) => `${value} %`;
  expect(spoken("CPU", [1, 80, 12], write)).toBe("CPU: 12 % now, at most 80 % since this is looked at");
  expect(spoken("CPU", [1, null], write)).toBe("CPU: not known");
});

test("a look is noted once, and VMs that do not run are forgotten", () => {
  const past = new Past();
  const [a, b] = [{ id: 1 }, { id: 2 }] as VM[] as [VM, VM];
  const figures = new Map([
    [1, { cpu_percent: 10, memory_bytes: 1 } as VMStatus],
    [2, { cpu_percent: 20, memory_bytes: 2 } as VMStatus],
  ]);
  const of = (id: number) => figures.get(id);
  expect(past.note(1, [a, b], of)).toBe(true);
  expect(past.note(2, [a, b], of)).toBe(false);
  figures.set(1, { cpu_percent: 30, memory_bytes: 1 } as VMStatus);
  expect(past.note(3, [a, b], of)).toBe(true);
  expect(past.of(1).map((one) => one.cpu)).toEqual([10, 30]);
  expect(past.pool.map((one) => one.cpu)).toEqual([30, 50]);
  past.note(4, [b], of);
  expect(past.of(1)).toEqual([]);
});

test("what the panel says is not believed", () => {
  expect(fromPanel({ type: "act", action: "stop", vm: 3 })).toEqual({ type: "act", action: "stop", vm: 3 });
  expect(fromPanel({ type: "choose", vm: "3" })).toEqual({ type: "choose", vm: null });
  const wrong = [null, "ready", {}, { type: "act", action: "toString", vm: 1 }, { type: "act", action: "vmpool.deleteVM" }, { type: "showExecution", vm: 1 }];
  for (const one of wrong) expect(fromPanel(one)).toBeNull();
});
