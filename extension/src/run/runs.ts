/** All runs begun from this editor.  Output channel, results panel and diagnostics each listen. */
import type { PoolClient } from "../api/client";
import { Emitter } from "../emitter";
import { Run } from "./run";
import type { RunRequest } from "./run";

export class Runs {
  private readonly begun = new Emitter<Run>();
  /** Told before the first output comes. */
  readonly onDidBegin = this.begun.event;

  /** Begin one: listeners know it before anything of it happens. */
  begin(request: RunRequest): Run {
    const run = new Run(request);
    this.begun.fire(run);
    return run;
  }

  /** Begin one, and wait for its end; `signal` cancels it. */
  async go(client: PoolClient, request: RunRequest, signal?: AbortSignal): Promise<Run> {
    const run = this.begin(request);
    const cancel = () => run.cancel();
    signal?.addEventListener("abort", cancel);
    if (signal?.aborted) cancel();
    await run.go(client);
    signal?.removeEventListener("abort", cancel);
    return run;
  }

  dispose(): void {
    this.begun.dispose();
  }
}
