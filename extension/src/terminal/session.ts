/** A program in a terminal of a VM: written to, resized, and found again after a cut.  Knows nothing of the editor. */

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** A WebSocket, as far as a session needs one. */
export interface Socket {
  send(text: string): void;
  close(): void;
  onopen: (() => void) | null;
  onmessage: ((text: string) => void) | null;
  /** code: why, as RFC 6455 numbers it; 1006 where it was never open. */
  onclose: ((code: number) => void) | null;
}

export interface Watcher {
  readonly wrote: (text: string) => void;
  readonly ended: (exitCode: number | null, failure: string | null) => void;
  /** The connection was cut (false) or is there again (true). */
  readonly connected: (there: boolean) => void;
  /** The server has said no, and why. */
  readonly refused: (words: string) => void;
  /** It will not be tried again. */
  readonly lost: () => void;
}

interface Ended {
  readonly exit_code?: number | null;
  readonly failure?: string | null;
}

type Message =
  | { readonly event: "stdout" | "stderr"; readonly id: string; readonly text?: string; readonly base64?: string }
  | { readonly event: "exit"; readonly execution: Ended }
  | { readonly event: "error" | "refused"; readonly problem: { readonly detail: string } }
  | { readonly event: "start" | "stdin" };

/** Characters in one message: far below the megabyte that the server takes. */
const LONGEST = 100_000;
/** Messages typed during a cut that are kept for afterwards. */
const KEPT = 10_000;
/** Milliseconds between tries; the last one again and again. */
const WAITS = [200, 500, 1_000, 2_000, 5_000] as const;
/** Codes after which trying again is of no use: the end, and not allowed. */
const FINAL = new Set([1000, 1008]);
/** After so long without a reader the server ends the terminal. */
export const LINGER_SECONDS = 600;

export class TerminalSession {
  private socket: Socket | null = null;
  private open = false;
  private over = false;
  private position = "0,0";
  private tries = 0;
  private waiting: ReturnType<typeof setTimeout> | null = null;
  private cutAt: number | null = null;
  private typed: string[] = [];
  private readonly decoder = new TextDecoder();

  /** dial: opens a socket that goes on at a position.  now: milliseconds, for how long it has been away. */
  constructor(
    private readonly dial: (stdoutOffset: string, stderrOffset: string) => Promise<Socket>,
    private size: Size,
    private readonly watcher: Watcher,
    private readonly now: () => number = Date.now,
  ) {
    this.connect();
  }

  type(text: string): void {
    if (this.over) return;
    for (let from = 0; from < text.length; ) {
      const to = cut(text, from + LONGEST);
      const piece = JSON.stringify({ stdin: text.slice(from, to) });
      if (this.open) this.socket?.send(piece);
      else if (this.typed.length < KEPT) this.typed.push(piece);
      from = to;
    }
  }

  resize(size: Size): void {
    this.size = size;
    if (this.open) this.socket?.send(JSON.stringify({ resize: size }));
  }

  /** End the program and all it started. */
  end(): void {
    if (this.over) return;
    this.over = true;
    if (this.waiting !== null) clearTimeout(this.waiting);
    if (this.open) this.socket?.send(JSON.stringify({ cancel: true }));
    this.socket?.close();
  }

  private connect(): void {
    const [stdout = "0", stderr = "0"] = this.position.split(",");
    this.dial(stdout, stderr).then(
      (socket) => {
        this.attach(socket);
      },
      () => {
        this.away(1006);
      },
    );
  }

  private attach(socket: Socket): void {
    if (this.over) {
      socket.onopen = () => {
        socket.send(JSON.stringify({ cancel: true }));
        socket.close();
      };
      return;
    }
    this.socket = socket;
    socket.onopen = () => {
      this.open = true;
      this.tries = 0;
      if (this.cutAt !== null) this.watcher.connected(true);
      this.cutAt = null;
      socket.send(JSON.stringify({ resize: this.size }));
      for (const piece of this.typed.splice(0)) socket.send(piece);
    };
    socket.onmessage = (text) => this.hear(JSON.parse(text) as Message);
    socket.onclose = (code) => {
      this.open = false;
      this.away(code);
    };
  }

  /** Come back, unless that is of no use any more. */
  private away(code: number): void {
    if (this.over) return;
    if (this.cutAt === null) {
      this.cutAt = this.now();
      if (!FINAL.has(code)) this.watcher.connected(false);
    }
    if (FINAL.has(code) || this.now() - this.cutAt > LINGER_SECONDS * 1_000) {
      this.over = true;
      this.watcher.lost();
      return;
    }
    const wait = WAITS[Math.min(this.tries, WAITS.length - 1)] ?? WAITS[0];
    this.tries += 1;
    this.waiting = setTimeout(() => {
      this.waiting = null;
      if (!this.over) this.connect();
    }, wait);
  }

  private hear(message: Message): void {
    switch (message.event) {
      case "stdout":
      case "stderr":
        this.position = message.id;
        this.watcher.wrote(this.decoder.decode(bytesOf(message), { stream: true }));
        break;
      case "exit":
        this.over = true;
        this.watcher.ended(message.execution.exit_code ?? null, message.execution.failure ?? null);
        this.socket?.close();
        break;
      case "error":
      case "refused":
        this.watcher.refused(message.problem.detail);
        break;
      case "start":
      case "stdin":
        break;
      default: // of a later server
    }
  }
}

/** A character may be split over two pieces, which then come as Base64: all goes through one decoder. */
function bytesOf(piece: { readonly text?: string; readonly base64?: string }): Uint8Array {
  return piece.text === undefined ? Buffer.from(piece.base64 ?? "", "base64") : Buffer.from(piece.text, "utf8");
}

/** Where to end a message, at most here: not between the halves of a surrogate pair. */
function cut(text: string, at: number): number {
  if (at >= text.length) return text.length;
  const before = text.charCodeAt(at - 1);
  return before >= 0xd800 && before < 0xdc00 ? at - 1 : at;
}
