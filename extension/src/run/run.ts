/** One run of code in one or several VMs, as it goes on.  Who shows or keeps results listens to it. */
import type { PoolClient } from "../api/client";
import { isCancelled } from "../api/problem";
import type { ExecuteRequest, Execution, OutputEvent, VM } from "../api/types";
import { Emitter } from "../emitter";

/** Where the code stands in the editor; what is reported of its lines leads back there. */
export interface Source {
  /** The document's, as `Uri.toString()`. */
  readonly uri: string;
  /** The line of the document at which the code begins, counted from 0. */
  readonly firstLine: number;
  /** The column there, counted from 0; default: 0. */
  readonly firstCharacter?: number;
  /** The path under which the code runs in the VM, where it is run as a file. */
  readonly path?: string;
}

export interface RunRequest {
  /** What is run, in a few words: "selection of main.py". */
  readonly title: string;
  readonly vms: readonly VM[];
  readonly body: ExecuteRequest;
  readonly source?: Source;
}

export interface Piece {
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

/** What one VM makes of it. */
export interface Part {
  readonly vm: VM;
  /** The execution, known from its start; its `state` says whether it has ended. */
  execution: Execution | null;
  /** Why there is no result: PoolError, Unreachable, or AbortError where it was cancelled. */
  error: unknown;
  /** Nothing more comes. */
  ended: boolean;
}

export interface Output {
  readonly part: Part;
  readonly piece: Piece;
}

let lastId = 0;

export class Run {
  readonly id = (lastId += 1);
  readonly begun = new Date();
  readonly parts: readonly Part[];
  private readonly outputs = new Emitter<Output>();
  private readonly ends = new Emitter<Part>();
  private readonly stopping = new AbortController();
  /** Output as it comes. */
  readonly onOutput = this.outputs.event;
  /** One VM's end of it. */
  readonly onPartEnd = this.ends.event;

  constructor(readonly request: RunRequest) {
    this.parts = request.vms.map((vm) => ({ vm, execution: null, error: null, ended: false }));
  }

  /** End the programs, with all they started. */
  cancel(): void {
    this.stopping.abort();
  }

  /** Run it; answers when all have ended, and never throws: what failed is in the parts. */
  async go(client: PoolClient): Promise<void> {
    await Promise.all(this.parts.map((part) => this.runIn(client, part)));
  }

  private async runIn(client: PoolClient, part: Part): Promise<void> {
    try {
      for await (const event of client.events("post", "/api/vms/{vm_id}/execute", {
        path: { vm_id: part.vm.id },
        body: { ...this.request.body, cancel_on_disconnect: true },
        signal: this.stopping.signal,
      })) {
        if (event.event === "stdout" || event.event === "stderr") {
          const text = textOf(JSON.parse(event.data) as OutputEvent);
          this.outputs.fire({ part, piece: { stream: event.event, text } });
        } else if (event.event === "start" || event.event === "exit") {
          part.execution = JSON.parse(event.data) as Execution;
        }
      }
      if (part.execution?.state === "running" || part.execution === null) {
        part.error = new Error("The server ended before the program did; what came of it is among the VM's executions.");
      }
    } catch (error) {
      part.error = error;
    }
    part.ended = true;
    this.ends.fire(part);
  }
}

/** Whether it ended as its program wanted, with status 0. */
export function succeeded(part: Part): boolean {
  return part.error === null && part.execution?.exit_code === 0;
}

/** An end in a few words. */
export function ending(part: Part): string {
  if (part.error !== null) {
    if (isCancelled(part.error)) return "cancelled";
    return part.error instanceof Error ? part.error.message : "no result";
  }
  const { execution } = part;
  if (execution === null) return "running";
  if (execution.timed_out) return "stopped at its time limit";
  if (execution.oom_killed) return "killed: out of memory";
  if (execution.failure !== null) return execution.failure;
  if (execution.build_failed) return "could not be compiled";
  return `exit ${execution.exit_code ?? "?"}`;
}

/** What an event of output says, as text. */
export function textOf(event: OutputEvent): string {
  const skipped = event.skipped ? `[${event.skipped} bytes were not kept]\n` : "";
  return skipped + (event.text ?? Buffer.from(event.base64 ?? "", "base64").toString("utf8"));
}
