/** Which server, and which key: decided from what is set, without asking anybody. */
import type { Endpoint } from "../api/http";

export interface Known {
  /** The setting `vmpool.server`; empty: not set. */
  readonly setting: string;
  /** `VMPOOL_URL`. */
  readonly environmentURL: string | undefined;
  /** `VMPOOL_API_KEY`. */
  readonly environmentKey: string | undefined;
  /** The PEM text of the setting `vmpool.certificateAuthority`, or of `VMPOOL_CA`. */
  readonly authority: string | undefined;
  /** This machine's own server, where one runs. */
  readonly local: Endpoint | null;
  /** The key kept for a server. */
  readonly keyFor: (url: string) => Promise<string | undefined>;
}

export type Choice =
  | { readonly kind: "found"; readonly endpoint: Endpoint; readonly isLocal: boolean }
  | { readonly kind: "noServer" }
  | { readonly kind: "noKey"; readonly url: string }
  | { readonly kind: "badAddress"; readonly url: string };

/** The setting wins over the environment, and both over this machine's own server; a kept key wins over others. */
export async function choose(known: Known): Promise<Choice> {
  const named = known.setting || known.environmentURL;
  if (!named) {
    const { local } = known;
    if (local === null) return { kind: "noServer" };
    const kept = await known.keyFor(local.url);
    return { kind: "found", endpoint: { ...local, key: kept ?? local.key }, isLocal: true };
  }
  const url = address(named);
  if (url === null) return { kind: "badAddress", url: named };
  // The environment's key is that of the environment's server; the owner's that of this machine's own.
  const fromEnvironment = known.setting ? undefined : known.environmentKey;
  const ofLocal = known.local?.url === url ? known.local.key : undefined;
  const key = (await known.keyFor(url)) ?? fromEnvironment ?? ofLocal;
  if (key === undefined) return { kind: "noKey", url };
  return { kind: "found", endpoint: { url, key, authority: known.authority }, isLocal: false };
}

/** An address as it is compared and kept: scheme, host and port, without a slash; null: it is none. */
export function address(text: string): string | null {
  const full = /^[a-z]+:\/\//i.test(text.trim()) ? text.trim() : `http://${text.trim()}`;
  if (!URL.canParse(full)) return null;
  const url = new URL(full);
  if ((url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") return null;
  return url.origin + url.pathname.replace(/\/+$/, "");
}

/** Whether a key sent there could be read on the way: plain http to another machine. */
export function isExposed(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === "http:" && hostname !== "localhost" && hostname !== "[::1]" && !hostname.startsWith("127.");
}
