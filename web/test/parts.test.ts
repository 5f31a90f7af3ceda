import { describe, expect, it } from "vitest";
import { bytes } from "../src/model/format";
import { above, entered } from "../src/model/paths";
import { parts } from "../src/model/search";
import { KEPT, appended, line } from "../src/model/series";

describe("search", () => {
  it("marks each place and loses no letter", () => {
    const marked = (text: string, wanted: string) =>
      parts(text, wanted)
        .map((part) => (part.hit ? `[${part.text}]` : part.text))
        .join("");
    expect(marked("Alpha beta alpha", "alpha")).toBe("[Alpha] beta [alpha]");
    expect(marked("aaa", "aa")).toBe("[aa]a");
    expect(marked("none", "x")).toBe("none");
    expect(marked("all", "")).toBe("all");
    expect(marked("İstanbul a", "a")).toBe("[İstanbul a]"); // its small letters are longer
    expect(marked("(.*)", ".*")).toBe("([.*])");
  });
});

describe("a series", () => {
  it("keeps the last values", () => {
    let series: readonly (number | null)[] = [];
    for (let value = 0; value < KEPT + 5; value += 1) series = appended(series, value);
    expect(series).toHaveLength(KEPT);
    expect(series[0]).toBe(5);
  });

  it("is a line to the right edge, with gaps, within its box", () => {
    expect(line([], 10, 59, 10)).toBe("");
    expect(line([0, 5, null, 20, -1], 10, 59, 10)).toBe("M55.0 10.0L56.0 5.0M58.0 0.0L59.0 10.0");
    expect(line([1], 0, 59, 10)).not.toContain("NaN");
  });
});

describe("paths", () => {
  it("lead in and out again", () => {
    expect(entered("/home/user", "a%20b")).toBe("/home/user/a%20b");
    expect(entered("/", "tmp")).toBe("/tmp");
    expect([above("/home/user"), above("/home"), above("/")]).toEqual(["/home", "/", "/"]);
  });
});

it("sizes are said in the largest unit that fits", () => {
  expect([bytes(5), bytes(2048), bytes(3 * 2 ** 20), bytes(1.5 * 2 ** 30)]).toEqual(["5 B", "2 kB", "3 MB", "1.5 GB"]);
});
