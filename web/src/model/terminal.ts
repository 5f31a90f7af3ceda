/** A program in a terminal of a VM: begun, written to, resized, and found again after a cut. */
import { ask } from "../api/client";
import type { Execution, OutputEvent, Problem } from "../api/types";

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export interface Watcher {
  readonly wrote: (data: string | Uint8Array) => void;
  readonly ended: (execution: Execution) => void;
  /** What was refused or went wrong; null: it works again. */
  readonly trouble: (words: string | null) => void;
}

type Message =
  | ({ readonly event: "stdout" | "stderr"; readonly id: string } & OutputEvent)
  | { readonly event: "exit"; readonly execution: Execution }
  | { readonly event: "error" | "refused"; readonly problem: Problem }
  | { readonly event: "stdin" };

/** Seconds for which the program waits for somebody to come back. */
const LINGER = 60;
const RETRY = 1_000;
/** Codes of the server: the end, and not allowed any more. */
const FINAL = new Set([1000, 1008]);
/** Characters in one message: far below what the server takes. */
const LONGEST = 100_000;

export class TerminalSession {
  private socket: WebSocket | null = null;
  private position = "0,0";
  private over = false;

  private constructor(
    private readonly path: string,
    private size: Size,
    private readonly watcher: Watcher,
  ) {
    this.connect();
  }

  /** Begin a shell in a VM. */
  static async begin(vmId: number, size: Size, watcher: Watcher): Promise<TerminalSession> {
    const body = {
      command: "exec bash -i",
      language: "bash",
      background: true,
      linger: LINGER,
      terminal: size,
    };
    const execution = await ask<Execution>("POST", `/api/vms/${vmId}/execute`, { body });
    return new TerminalSession(`/api/vms/${vmId}/executions/${execution.id}/stream`, size, watcher);
  }

  type(text: string): void {
    for (let from = 0; from < text.length; from += LONGEST) {
      this.send({ stdin: text.slice(from, from + LONGEST) });
    }
  }

  resize(size: Size): void {
    this.size = size;
    this.send({ resize: size });
  }

  /** End the program, and what it started. */
  end(): void {
    this.over = true;
    this.send({ cancel: true });
    this.socket?.close();
  }

  private send(message: object): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private connect(): void {
    const [stdout = "0", stderr = "0"] = this.position.split(",");
    const url = new URL(`${this.path}?stdout_offset=${stdout}&stderr_offset=${stderr}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.socket = new WebSocket(url));
    socket.onopen = () => {
      if (this.over) {
        this.end(); // left before it was there
        return;
      }
      this.watcher.trouble(null);
      this.send({ resize: this.size });
    };
    socket.onmessage = (event) => this.hear(JSON.parse(String(event.data)) as Message);
    socket.onclose = (event) => {
      if (this.over || FINAL.has(event.code)) return;
      this.watcher.trouble("The connection was cut. The shell goes on for a minute; coming back to it…");
      setTimeout(() => {
        if (!this.over) this.connect();
      }, RETRY);
    };
  }

  private hear(message: Message): void {
    switch (message.event) {
      case "stdout":
      case "stderr":
        this.position = message.id;
        this.watcher.wrote(message.text ?? bytesOf(message.base64 ?? ""));
        break;
      case "exit":
        this.over = true;
        this.watcher.ended(message.execution);
        break;
      case "error":
      case "refused":
        this.watcher.trouble(message.problem.detail);
        break;
      case "stdin": // taken
        break;
    }
  }
}

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
