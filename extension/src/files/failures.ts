/** What the server says of a file, in the kinds of errors an editor knows. */
import { PoolError } from "../api/problem";

export type Failure = "notFound" | "exists" | "notADirectory" | "isADirectory" | "noPermissions" | "unavailable";

/** expecting: what a condition that does not hold (412) means for who set it. */
export function failureOf(error: unknown, expecting: "exists" | "notFound" = "exists"): Failure {
  if (!(error instanceof PoolError)) return "unavailable";
  switch (error.code) {
    case "path_not_found":
    case "vm_not_found":
      return "notFound";
    case "file_changed":
      return expecting;
    case "file_refused":
      return refused(error.context["reason"]);
    case "insufficient_scope":
    case "forbidden":
    case "unauthenticated":
      return "noPermissions";
    default:
      return "unavailable";
  }
}

function refused(reason: unknown): Failure {
  switch (reason) {
    case "permission":
      return "noPermissions";
    case "exists":
      return "exists";
    case "not_a_directory":
      return "notADirectory";
    case "not_a_file":
      return "isADirectory";
    default:
      return "unavailable";
  }
}

/** A name as text; null where its bytes are none: the editor cannot name such a file. */
export function nameOf(encoded: string): string | null {
  try {
    const name = decodeURIComponent(encoded);
    return name === "" || name.includes("/") ? null : name;
  } catch (error) {
    if (error instanceof URIError) return null;
    throw error;
  }
}

export interface Line {
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly text: string;
}

/** What `grep -nHZ` found: the name, a NUL, the number of the line, a colon, the line. */
export function foundLines(output: string, most: number): Line[] {
  const found: Line[] = [];
  for (const line of output.split("\n")) {
    const match = /^([^\0]+)\0(\d+):(.*)$/.exec(line);
    if (match) found.push({ path: match[1] ?? "", line: Number(match[2]), text: (match[3] ?? "").slice(0, 300) });
    if (found.length >= most) break;
  }
  return found;
}
