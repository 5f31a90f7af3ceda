/** The kernels that cells run in: one for each document and VM, made at its first cell. */
import type { PoolClient } from "../api/client";
import { PoolError } from "../api/problem";
import type { CellOutput, CellResult, VM } from "../api/types";
import type { Origin } from "../problems/places";
import { duration } from "../views/labels";

/** The languages that have kernels. */
export const KERNELS: ReadonlySet<string> = new Set(["python", "nodejs", "bash"]);

export interface CellCode {
  readonly code: string;
  readonly language: string;
  readonly origin: Origin;
}

export interface CellEnd {
  readonly result: CellResult;
  /** Where each cell that this kernel has run stands in the document, by its number. */
  readonly cells: ReadonlyMap<number, Origin>;
}

class Kernel {
  readonly cells = new Map<number, Origin>();

  constructor(
    readonly vmId: number,
    readonly id: number,
  ) {}
}

export class Kernels {
  private readonly known = new Map<string, Promise<Kernel>>();

  /** heard: each output as it comes.  interrupted: ends the cell, not the kernel.  Throws what the client throws. */
  async run(
    client: PoolClient,
    vm: VM,
    uri: string,
    cell: CellCode,
    heard: (output: CellOutput) => void,
    interrupted: AbortSignal,
  ): Promise<CellEnd> {
    const key = `${vm.id} ${cell.language} ${uri}`;
    const kernel = await this.kernel(client, vm, key, cell.language);
    try {
      return await this.runIn(client, kernel, cell, heard, interrupted);
    } catch (error) {
      if (!(error instanceof PoolError) || !GONE.has(error.code)) throw error;
      this.known.delete(key); // its VM was stopped, or it ended: the next has nothing of what it knew
      const next = await this.kernel(client, vm, key, cell.language);
      heard(ANEW);
      return await this.runIn(client, next, cell, heard, interrupted);
    }
  }

  /** End those of a document. */
  async close(client: PoolClient, uri: string): Promise<void> {
    const keys = [...this.known.keys()].filter((key) => key.endsWith(` ${uri}`));
    await Promise.all(keys.map((key) => this.end(client, key)));
  }

  async closeAll(client: PoolClient): Promise<void> {
    await Promise.all([...this.known.keys()].map((key) => this.end(client, key)));
  }

  private async end(client: PoolClient, key: string): Promise<void> {
    const kernel = await this.known.get(key)?.catch(() => null);
    this.known.delete(key);
    if (!kernel) return;
    const path = { vm_id: kernel.vmId, context_id: kernel.id };
    await client.request("delete", "/api/vms/{vm_id}/contexts/{context_id}", { path });
  }

  private kernel(client: PoolClient, vm: VM, key: string, language: string): Promise<Kernel> {
    const known = this.known.get(key);
    if (known) return known;
    const making = client
      .request("post", "/api/vms/{vm_id}/contexts", { path: { vm_id: vm.id }, body: { language } })
      .then((context) => new Kernel(vm.id, context.id));
    this.known.set(key, making);
    making.catch(() => this.known.delete(key));
    return making;
  }

  private async runIn(
    client: PoolClient,
    kernel: Kernel,
    cell: CellCode,
    heard: (output: CellOutput) => void,
    interrupted: AbortSignal,
  ): Promise<CellEnd> {
    const path = { vm_id: kernel.vmId, context_id: kernel.id };
    const interrupt = () => {
      // Where it has just ended there is nothing to interrupt, and where the server is away the events say so.
      client.request("post", "/api/vms/{vm_id}/contexts/{context_id}/interrupt", { path }).catch(() => undefined);
    };
    interrupted.addEventListener("abort", interrupt);
    try {
      for await (const event of client.events("post", "/api/vms/{vm_id}/contexts/{context_id}/execute", {
        path,
        body: { code: cell.code },
      })) {
        if (event.event === "output") heard(JSON.parse(event.data) as CellOutput);
        if (event.event !== "end") continue;
        const result = JSON.parse(event.data) as CellResult;
        kernel.cells.set(result.number, cell.origin);
        return { result, cells: kernel.cells };
      }
    } finally {
      interrupted.removeEventListener("abort", interrupt);
    }
    throw new Error("The server ended before the cell did.");
  }
}

const GONE: ReadonlySet<string> = new Set(["context_dead", "context_not_found"]);

const ANEW: CellOutput = {
  type: "stderr",
  text: "The kernel had ended. This is a new one: what cells have set before is gone.\n",
  data: null,
  name: null,
  value: null,
  traceback: null,
};

/** An end in a few words. */
export function cellEnding(result: CellResult): string {
  switch (result.state) {
    case "ok":
      return `done in ${duration(result.execution_time)}`;
    case "error":
      return "failed";
    case "interrupted":
      return "interrupted";
    case "timed_out":
      return "stopped at its time limit";
    case "died":
      return "its kernel ended";
  }
}
