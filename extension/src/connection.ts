/** The one connection to a pool: found, kept in the editor's settings and secrets, and said where it is not there. */
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import { readFile } from "node:fs/promises";
import * as vscode from "vscode";
import { PoolClient } from "./api/client";
import { PoolError, Unreachable, isCancelled, words } from "./api/problem";
import type { Session } from "./api/types";
import { choose } from "./connection/choose";
import type { Choice } from "./connection/choose";
import { localServer, stateDirectory } from "./connection/local";
import type { Pool } from "./pool/pool";

export type ConnectionState =
  | { readonly kind: "idle" | "connecting" | "noServer" }
  | { readonly kind: "noKey" | "badAddress"; readonly url: string }
  | { readonly kind: "connected"; readonly client: PoolClient; readonly session: Session }
  | { readonly kind: "failed"; readonly url: string; readonly error: unknown };

/** A command needs the pool, and there is none; the state says why. */
export class NotConnected extends Error {
  constructor(readonly state: ConnectionState) {
    super(explained(state));
    this.name = "NotConnected";
  }
}

/** Milliseconds a server may take to say who is signed in. */
const PATIENCE = 20_000;
const KEY_PREFIX = "vmpool.key:";

export class Connection implements vscode.Disposable {
  private current: ConnectionState = { kind: "idle" };
  private readonly changes = new vscode.EventEmitter<ConnectionState>();
  readonly onDidChange = this.changes.event;
  private connecting: Promise<ConnectionState> | null = null;
  private again: Promise<ConnectionState> | null = null;
  private attempt = new AbortController();
  private watcher: FSWatcher | null = null;

  constructor(
    private readonly secrets: vscode.SecretStorage,
    private readonly pool: Pool,
    private readonly log: vscode.LogOutputChannel,
  ) {}

  get state(): ConnectionState {
    return this.current;
  }

  /** The client of a pool that is there, connecting first where need be.  Throws NotConnected. */
  async client(): Promise<PoolClient> {
    const state = this.current.kind === "connected" ? this.current : await this.settled(this.connect());
    if (state.kind !== "connected") throw new NotConnected(state);
    return state.client;
  }

  /** Find the server and follow its pool.  Never throws: the state says what came of it. */
  connect(): Promise<ConnectionState> {
    this.connecting ??= this.find().finally(() => (this.connecting = null));
    return this.connecting;
  }

  /** Begin anew: the settings, a key or the server are others. */
  async reconnect(): Promise<ConnectionState> {
    this.attempt.abort();
    this.again ??= this.beginAnew();
    return await this.settled(this.again);
  }

  /** Keep a key for a server in the editor's secrets; undefined: forget it. */
  async keepKey(url: string, key: string | undefined): Promise<void> {
    if (key === undefined) await this.secrets.delete(KEY_PREFIX + url);
    else await this.secrets.store(KEY_PREFIX + url, key);
  }

  dispose(): void {
    this.attempt.abort();
    this.disconnect();
    this.watcher?.close();
    this.changes.dispose();
  }

  private async beginAnew(): Promise<ConnectionState> {
    await this.connecting;
    this.again = null;
    this.disconnect();
    return await this.connect();
  }

  /** What came of it in the end, where another attempt has taken this one's place. */
  private async settled(attempt: Promise<ConnectionState>): Promise<ConnectionState> {
    let state = await attempt;
    for (let next = this.again; next !== null; next = this.again) state = await next;
    return state;
  }

  private disconnect(): void {
    const was = this.current;
    this.pool.stop();
    if (was.kind === "connected") was.client.dispose();
    this.current = { kind: "idle" };
  }

  private async find(): Promise<ConnectionState> {
    this.attempt = new AbortController();
    this.set({ kind: "connecting" });
    try {
      return await this.try(await this.choose());
    } catch (error) {
      this.log.error(`connecting: ${words(error)}`);
      return this.set({ kind: "failed", url: "", error });
    }
  }

  private async choose(): Promise<Choice> {
    const settings = vscode.workspace.getConfiguration("vmpool");
    const directory = stateDirectory(process.env, process.getuid?.() === 0);
    const authority = settings.get<string>("certificateAuthority", "") || process.env["VMPOOL_CA"];
    this.watchFor(directory);
    return await choose({
      setting: settings.get<string>("server", "").trim(),
      environmentURL: process.env["VMPOOL_URL"],
      environmentKey: process.env["VMPOOL_API_KEY"],
      authority: authority ? await readFile(authority, "utf8") : undefined,
      local: await localServer(directory),
      keyFor: (url) => Promise.resolve(this.secrets.get(KEY_PREFIX + url)),
    });
  }

  private async try(choice: Choice): Promise<ConnectionState> {
    if (choice.kind !== "found") return this.set(choice);
    const signal = AbortSignal.any([this.attempt.signal, AbortSignal.timeout(PATIENCE)]);
    const client = new PoolClient(choice.endpoint);
    const { url } = choice.endpoint;
    try {
      const session = await client.request("get", "/api/session", { signal });
      this.log.info(`connected to ${url} as ${session.user_name}`);
      this.pool.start(client, (error) => this.lost(url, error));
      return this.set({ kind: "connected", client, session });
    } catch (error) {
      client.dispose();
      if (isCancelled(error)) return this.current; // another attempt takes its place
      this.log.warn(`${url}: ${words(error)}`);
      // A file that a killed server left behind is no server.
      if (choice.isLocal && error instanceof Unreachable) return this.set({ kind: "noServer" });
      return this.set({ kind: "failed", url, error });
    }
  }

  private lost(url: string, error: unknown): void {
    this.log.warn(`${url}: ${words(error)}`);
    this.disconnect();
    this.set({ kind: "failed", url, error });
  }

  private set(state: ConnectionState): ConnectionState {
    this.current = state;
    this.changes.fire(state);
    return state;
  }

  /** A server that is started elsewhere, by the `vm` command for example, is found at once. */
  private watchFor(directory: string): void {
    if (this.watcher !== null) return;
    try {
      this.watcher = watch(directory, { persistent: false }, (_, file) => {
        if (file === "server.json" && this.current.kind === "noServer") void this.connect();
      });
      this.watcher.on("error", () => {
        this.watcher?.close();
        this.watcher = null;
      });
    } catch {
      this.watcher = null; // there was never a server here: the directory is made by its first start
    }
  }
}

/** A state in words. */
export function explained(state: ConnectionState): string {
  switch (state.kind) {
    case "idle":
    case "connecting":
      return "The pool is being looked for.";
    case "noServer":
      return "No vmpool server runs on this machine. Start one, or choose another machine's.";
    case "noKey":
      return `The server at ${state.url} needs an API key.`;
    case "badAddress":
      return `“${state.url}” is not the address of a server: an address is like https://pool.example:8321.`;
    case "connected":
      return `Connected to ${state.client.endpoint.url}.`;
    case "failed":
      return state.error instanceof PoolError && state.error.status === 401
        ? `The server at ${state.url} does not know this API key. It may have been revoked or have expired.`
        : words(state.error);
  }
}
