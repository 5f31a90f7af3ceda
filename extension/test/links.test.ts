import { expect, test } from "vitest";
import { placesIn } from "../src/problems/links";

test("places in what programs write", () => {
  const brief = (text: string) => placesIn(text).map((one) => `${text.slice(one.start, one.start + one.length)} = ${one.path} ${one.line} ${one.column}`);
  expect(brief('  File "/home/user/a b.py", line 12, in f')).toEqual(['File "/home/user/a b.py", line 12 = /home/user/a b.py 12 1']);
  expect(brief("./src/main.rs:4:20 and lib/x.c:7: error")).toEqual(["./src/main.rs:4:20 = ./src/main.rs 4 20", "lib/x.c:7 = lib/x.c 7 1"]);
  expect(brief("at 10:30:00 nothing, http://x:80/")).toEqual([]);
  expect(placesIn("a.b/".repeat(100_000))).toEqual([]);
});
