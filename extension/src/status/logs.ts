/** The output of a VM's executions as it comes, while somebody looks at it. */
import type { PoolClient } from "../api/client";
import { PoolError, Unreachable, isCancelled } from "../api/problem";
import type { LogEntry } from "../api/types";
import type { LogLine } from "./messages";

/** Executions whose output is shown at first. */
const TAIL = 50;
/** Characters of one piece that are shown. */
const LONGEST = 20_000;
const GATHERED = 200;
const AGAIN = 3_000;

/** Until `signal`: tells first what was there (begin), then what comes.  A cut connection is made again. */
export async function followLogs(
  client: PoolClient,
  vmId: number,
  tell: (begin: boolean, lines: readonly LogLine[]) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await once(client, vmId, tell, signal);
    } catch (error) {
      if (isCancelled(error) || (error instanceof PoolError && error.status < 500)) return;
      if (!(error instanceof PoolError) && !(error instanceof Unreachable)) throw error;
    }
    await pause(AGAIN, signal);
  }
}

async function once(
  client: PoolClient,
  vmId: number,
  tell: (begin: boolean, lines: readonly LogLine[]) => void,
  signal: AbortSignal,
): Promise<void> {
  let begin = true;
  let gathered: LogLine[] = [];
  const flush = () => {
    if (signal.aborted || (!begin && gathered.length === 0)) return;
    tell(begin, gathered);
    begin = false;
    gathered = [];
  };
  const timer = setInterval(flush, GATHERED);
  try {
    const query = { tail: TAIL, follow: true };
    for await (const event of client.events("get", "/api/vms/{vm_id}/logs", { path: { vm_id: vmId }, query, signal })) {
      const entry = JSON.parse(event.data) as LogEntry;
      gathered.push({ execution: entry.execution_id, stream: entry.stream, text: entry.text.slice(0, LONGEST) });
    }
    flush();
  } finally {
    clearInterval(timer);
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
