/** A VM's shell as a terminal of the editor. */
import * as vscode from "vscode";
import type { PoolClient } from "../api/client";
import { words } from "../api/problem";
import type { VM } from "../api/types";
import { LINGER_SECONDS, TerminalSession, type Size } from "./session";
import { socketTo } from "./socket";

const SHELL = "if command -v bash >/dev/null; then exec bash -i; else exec sh -i; fi";
const USUAL: Size = { columns: 80, rows: 24 };
const LARGEST = 1_000;

export class VMTerminal implements vscode.Pseudoterminal {
  private readonly writes = new vscode.EventEmitter<string>();
  private readonly closes = new vscode.EventEmitter<number | undefined>();
  readonly onDidWrite = this.writes.event;
  readonly onDidClose = this.closes.event;
  private session: TerminalSession | null = null;
  private closed = false;
  private over = false;
  private size: Size = USUAL;
  private early = "";

  /** client: asked again at each connection, since key and server may be others by then. */
  constructor(
    private readonly client: () => Promise<PoolClient>,
    readonly vm: VM,
  ) {}

  open(dimensions: vscode.TerminalDimensions | undefined): void {
    if (dimensions) this.size = sizeOf(dimensions);
    this.begin().catch((error: unknown) => {
      this.note(`No shell in ${this.vm.name}: ${words(error)}`);
      this.finish();
    });
  }

  close(): void {
    this.closed = true;
    this.session?.end();
    this.writes.dispose();
    this.closes.dispose();
  }

  handleInput(data: string): void {
    if (this.over) this.closes.fire(undefined);
    else if (this.session) this.session.type(data);
    else this.early += data;
  }

  setDimensions(dimensions: vscode.TerminalDimensions): void {
    this.size = sizeOf(dimensions);
    this.session?.resize(this.size);
  }

  private async begin(): Promise<void> {
    const client = await this.client();
    const execution = await client.request("post", "/api/vms/{vm_id}/execute", {
      path: { vm_id: this.vm.id },
      body: { command: SHELL, background: true, linger: LINGER_SECONDS, terminal: this.size },
    });
    const dial = async (stdout_offset: string, stderr_offset: string) =>
      socketTo((await this.client()).socket(execution, { stdout_offset: Number(stdout_offset), stderr_offset: Number(stderr_offset) }));
    this.session = new TerminalSession(dial, this.size, {
      wrote: (text) => this.write(text),
      ended: (exitCode, failure) => {
        if (failure === null) this.closes.fire(exitCode ?? undefined); // left by who sat before it
        else {
          this.note(failure);
          this.finish();
        }
      },
      connected: (there) =>
        this.note(there ? "Connected again." : "The connection was cut. The shell goes on; coming back to it…"),
      refused: (said) => this.note(said),
      lost: () => {
        this.note("The shell is gone.");
        this.finish();
      },
    });
    if (this.early) this.session.type(this.early);
    if (this.closed) this.session.end();
  }

  private write(text: string): void {
    if (!this.closed) this.writes.fire(text);
  }

  /** Words of the editor's own between the program's. */
  private note(text: string): void {
    this.write(`\r\n\u001b[2m${text.replaceAll(/\r?\n/g, "\r\n")}\u001b[0m\r\n`);
  }

  /** What was said last stays to be read; the next key closes it. */
  private finish(): void {
    this.over = true;
    this.write("\u001b[2mPress any key to close the terminal.\u001b[0m");
  }
}

function sizeOf(dimensions: vscode.TerminalDimensions): Size {
  const within = (count: number) => Math.min(LARGEST, Math.max(1, count));
  return { columns: within(dimensions.columns), rows: within(dimensions.rows) };
}
