import { expect, test } from "vitest";
import { quoted } from "../src/shellWord";
import { PoolError, Unreachable } from "../src/api/problem";
import { failureOf, foundLines, nameOf } from "../src/files/failures";

const said = (code: string, reason?: string) => new PoolError(409, code, "no", "", false, reason === undefined ? {} : { reason });

test("what the server refuses is an error the editor knows", () => {
  expect(failureOf(said("path_not_found"))).toBe("notFound");
  expect(failureOf(said("vm_not_found"))).toBe("notFound");
  expect(failureOf(said("file_changed"))).toBe("exists");
  expect(failureOf(said("file_changed"), "notFound")).toBe("notFound");
  expect(failureOf(said("file_refused", "permission"))).toBe("noPermissions");
  expect(failureOf(said("file_refused", "exists"))).toBe("exists");
  expect(failureOf(said("file_refused", "not_a_file"))).toBe("isADirectory");
  expect(failureOf(said("file_refused", "not_a_directory"))).toBe("notADirectory");
  expect(failureOf(said("file_refused", "not_empty"))).toBe("unavailable");
  expect(failureOf(said("vm_not_running"))).toBe("unavailable");
  expect(failureOf(said("insufficient_scope"))).toBe("noPermissions");
  expect(failureOf(new Unreachable("http://x", new Error("y")))).toBe("unavailable");
});

test("names are text, or none", () => {
  expect(nameOf("a%20b%20c%2Bd%C3%A4")).toBe("a b c+dä");
  expect(nameOf("%FF")).toBeNull();
  expect(nameOf("%2Fetc")).toBeNull();
  expect(nameOf("")).toBeNull();
});

test("what grep has found", () => {
  expect(foundLines("/home/user/a:1:b.py\u000012:x: 1\nBinary file\n/b\u00003:\n", 10)).toEqual([
    { path: "/home/user/a:1:b.py", line: 12, text: "x: 1" },
    { path: "/b", line: 3, text: "" },
  ]);
  expect(foundLines("/b\u00001:x\n".repeat(5), 2)).toHaveLength(2);
});

test("a word for the shell stays one, whatever is in it", () => {
  expect(quoted("it's $(x) `y` \"z\"")).toBe("'it'\\''s $(x) `y` \"z\"'");
});
