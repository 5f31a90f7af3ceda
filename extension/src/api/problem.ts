/** What went wrong between here and the server, in words that say what to do next. */
import type { components } from "./schema";

export type Problem = components["schemas"]["Problem"];

/** What the person can do about an error: each is a button, see `report.ts`. */
export type Remedy = "signIn" | "startServer" | "chooseServer" | "showLog" | "listVMs" | "deleteVM";

/** The server refused a request, or could not do it; the message is the server's own. */
export class PoolError extends Error {
  constructor(
    /** The HTTP status. */
    readonly status: number,
    /** One of the closed list in docs/errors.md, or "unknown" where something else than a pool answered. */
    readonly code: string,
    message: string,
    /** To be named when asking the operator. */
    readonly requestId = "",
    readonly retryable = false,
    readonly context: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
    this.name = "PoolError";
  }

  static of(problem: Problem): PoolError {
    return new PoolError(
      problem.status,
      problem.code,
      problem.errors?.[0] ? `${problem.detail} (${problem.errors[0].field})` : problem.detail,
      problem.request_id,
      problem.retryable,
      problem.context,
    );
  }

  /** What to do next, best first. */
  get remedies(): readonly Remedy[] {
    switch (this.code) {
      case "unauthenticated":
      case "insufficient_scope":
      case "forbidden":
      case "user_disabled":
        return ["signIn"];
      case "quota_exceeded":
        return ["deleteVM", "listVMs"];
      case "not_found":
        return ["listVMs"];
      case "unknown":
        return ["chooseServer"];
      default:
        return this.status >= 500 ? ["showLog"] : [];
    }
  }
}

/** No answer came. */
export class Unreachable extends Error {
  readonly remedies: readonly Remedy[] = ["startServer", "chooseServer", "showLog"];

  constructor(
    readonly url: string,
    cause: unknown,
  ) {
    super(`The pool's server at ${url} does not answer (${reason(cause)}).`, { cause });
    this.name = "Unreachable";
  }
}

/** Whether this is the end of a request that was given up by whoever asked. */
export function isCancelled(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

export function cancelled(): Error {
  return Object.assign(new Error("cancelled"), { name: "AbortError" });
}

/** Any error in words. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function reason(cause: unknown): string {
  const code: string = (cause instanceof Error && (cause as NodeJS.ErrnoException).code) || "";
  switch (code) {
    case "ECONNREFUSED":
      return "nothing listens there";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "there is no host of that name";
    case "ECONNRESET":
      return "the connection was cut";
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
      return "its certificate is not known: name its authority in the setting vmpool.certificateAuthority";
    default:
      return words(cause);
  }
}
