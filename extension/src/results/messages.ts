/** What the results panel and the editor say to one another. */
import type { PlaceLink } from "../problems/links";
import type { Entry, Item } from "./model";

export type ToPanel =
  | { readonly type: "all"; readonly entries: readonly Entry[] }
  | { readonly type: "begun"; readonly entry: Entry }
  | { readonly type: "output"; readonly id: number; readonly place: number; readonly items: readonly Item[] }
  | { readonly type: "ended"; readonly id: number; readonly place: number; readonly ending: string; readonly ok: boolean };

export type FromPanel =
  | { readonly type: "ready" }
  | { readonly type: "cancel"; readonly id: number }
  | { readonly type: "clear" }
  | { readonly type: "copy"; readonly text: string }
  /** A place in the output of one VM was pressed. */
  | { readonly type: "open"; readonly id: number; readonly place: number; readonly link: PlaceLink };

/** A message of the panel; null for what is none: a page is not believed. */
export function fromPanel(value: unknown): FromPanel | null {
  if (typeof value !== "object" || value === null) return null;
  const { type, id, text, place, link } = value as Readonly<Record<string, unknown>>;
  switch (type) {
    case "ready":
    case "clear":
      return { type };
    case "cancel":
      return typeof id === "number" ? { type, id } : null;
    case "copy":
      return typeof text === "string" ? { type, text } : null;
    case "open":
      return typeof id === "number" && typeof place === "number" && isLink(link) ? { type, id, place, link } : null;
    default:
      return null;
  }
}

function isLink(value: unknown): value is PlaceLink {
  if (typeof value !== "object" || value === null) return false;
  const { path, line, column } = value as Readonly<Record<string, unknown>>;
  return typeof path === "string" && Number.isInteger(line) && Number.isInteger(column);
}

/** Fails to compile where a kind of message is not handled. */
export function unhandled(message: never): never {
  throw new Error(`no such message: ${JSON.stringify(message)}`);
}
