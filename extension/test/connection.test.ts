import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { address, choose, isExposed } from "../src/connection/choose";
import type { Known } from "../src/connection/choose";
import { CannotStart, commandPlaces, localServer, startServer, stateDirectory } from "../src/connection/local";

const LOCAL = { url: "http://127.0.0.1:8321", key: "vmp_owner" };
const NOTHING: Known = {
  setting: "",
  environmentURL: undefined,
  environmentKey: undefined,
  authority: undefined,
  local: null,
  keyFor: () => Promise.resolve(undefined),
};
const kept = (url: string) => (one: string) => Promise.resolve(one === url ? "vmp_kept" : undefined);

describe("choosing a server", () => {
  it("takes this machine's own where nothing is set, with the key kept for it first", async () => {
    expect(await choose(NOTHING)).toEqual({ kind: "noServer" });
    expect(await choose({ ...NOTHING, local: LOCAL })).toEqual({ kind: "found", isLocal: true, endpoint: LOCAL });
    const found = await choose({ ...NOTHING, local: LOCAL, keyFor: kept(LOCAL.url) });
    expect(found).toMatchObject({ endpoint: { key: "vmp_kept" } });
  });

  it("sends a key to no other server than its own", async () => {
    const elsewhere = { ...NOTHING, setting: "https://pool.example", local: LOCAL, environmentKey: "vmp_env" };
    expect(await choose(elsewhere)).toEqual({ kind: "noKey", url: "https://pool.example" });
    expect(await choose({ ...elsewhere, keyFor: kept("https://other.example") })).toMatchObject({ kind: "noKey" });
    expect(await choose({ ...elsewhere, keyFor: kept("https://pool.example") })).toMatchObject({
      kind: "found",
      endpoint: { url: "https://pool.example", key: "vmp_kept" },
    });
  });

  it("takes the environment's server with the environment's key", async () => {
    const known = { ...NOTHING, environmentURL: "pool.example:8321/", environmentKey: "vmp_env", local: LOCAL };
    expect(await choose(known)).toMatchObject({ endpoint: { url: "http://pool.example:8321", key: "vmp_env" } });
  });

  it("knows the owner's key of this machine's own server where its address is set", async () => {
    expect(await choose({ ...NOTHING, setting: LOCAL.url, local: LOCAL })).toMatchObject({ endpoint: LOCAL });
  });

  it.each(["ftp://x", "http://", "a b", "://"])("calls %s no address", async (setting) => {
    expect(await choose({ ...NOTHING, setting })).toEqual({ kind: "badAddress", url: setting });
  });

  it("keeps an address without what does not tell servers apart", () => {
    expect(address(" HTTPS://Pool.Example:443/base/ ")).toBe("https://pool.example/base");
    expect(isExposed("http://pool.example")).toBe(true);
    for (const url of ["https://pool.example", "http://localhost:1", "http://127.0.0.2", "http://[::1]:8"]) {
      expect(isExposed(url), url).toBe(false);
    }
  });
});

describe("this machine's own server", () => {
  let directory: string;
  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), "vmpool-extension-"))));
  afterEach(() => rmSync(directory, { recursive: true }));

  it("is looked for where the vm command looks", () => {
    expect(stateDirectory({ VMPOOL_STATE_DIR: "/s" }, true)).toBe("/s");
    expect(stateDirectory({}, true)).toBe("/var/lib/vmpool");
    expect(stateDirectory({ XDG_STATE_HOME: "/x" }, false, "/home/me")).toBe("/x/vmpool");
    expect(stateDirectory({ XDG_STATE_HOME: "relative" }, false, "/home/me")).toBe("/home/me/.local/state/vmpool");
  });

  it("is there only when all that it writes is", async () => {
    expect(await localServer(directory)).toBeNull();
    writeFileSync(join(directory, "server.json"), '{"url": "http://127.0.0.1:1", "pid"');
    expect(await localServer(directory)).toBeNull();
    writeFileSync(join(directory, "server.json"), '{"url": "http://127.0.0.1:1", "pid": 7}');
    expect(await localServer(directory)).toBeNull();
    writeFileSync(join(directory, "owner.key"), "vmp_owner\n");
    expect(await localServer(directory)).toEqual({ url: "http://127.0.0.1:1", key: "vmp_owner" });
  });

  it("is known by its certificate", async () => {
    const certificate = join(directory, "c.pem");
    writeFileSync(certificate, "PEM");
    writeFileSync(join(directory, "owner.key"), "vmp_owner");
    writeFileSync(join(directory, "server.json"), JSON.stringify({ url: "https://127.0.0.1:1", certificate }));
    expect(await localServer(directory)).toMatchObject({ authority: "PEM", anyName: true });
  });

  it("is started by the command of a workspace's virtual environment, of the search path, or of the user", () => {
    expect(commandPlaces("vm", ["/w"], "/home/me")).toEqual([
      "/w/.venv/bin/vm",
      "/w/venv/bin/vm",
      "vm",
      "/home/me/.local/bin/vm",
    ]);
    expect(commandPlaces("/opt/vm", ["/w"], "/home/me")).toEqual(["/opt/vm"]);
  });

  it("says what to install where there is no command, and what the command said", async () => {
    const { signal } = new AbortController();
    const none = join(directory, "none");
    await expect(startServer([none], signal)).rejects.toMatchObject({ missing: true });
    const failing = join(directory, "vm");
    writeFileSync(failing, "#!/bin/sh\necho 'vm: the disk is full' >&2; exit 125\n");
    chmodSync(failing, 0o755);
    await expect(startServer([none, failing], signal)).rejects.toThrow(/the disk is full/);
    await expect(startServer([none, failing], signal)).rejects.toBeInstanceOf(CannotStart);
    writeFileSync(failing, '#!/bin/sh\n[ "$*" = "serve --detach" ]\n');
    await startServer([none, failing], signal);
  });
});
