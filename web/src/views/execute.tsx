/** Code run in a VM, with its output as it comes. */
import { useEffect, useRef, useState } from "preact/hooks";
import { follow } from "../api/client";
import type { Execution, OutputEvent, Problem, VM } from "../api/types";
import { duration } from "../model/format";
import { firstProgram } from "../model/languages";
import { type Piece, added } from "../model/output";
import { Trouble } from "./parts";

export function Execute({ vm }: { vm: VM }) {
  const [code, setCode] = useState(() => firstProgram(vm.language));
  const [pieces, setPieces] = useState<readonly Piece[]>([]);
  const [ended, setEnded] = useState<Execution | null>(null);
  const [error, setError] = useState<unknown>(null);
  const running = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => () => running.current?.abort(), []);

  async function run(): Promise<void> {
    if (running.current !== null || vm.status !== "running" || code.trim() === "") return;
    const controller = (running.current = new AbortController());
    setBusy(true);
    setPieces([]);
    setEnded(null);
    setError(null);
    const body = { code, cancel_on_disconnect: true };
    try {
      let complete = false;
      for await (const event of follow("POST", `/api/vms/${vm.id}/execute`, { body, signal: controller.signal })) {
        switch (event.event) {
          case "stdout":
          case "stderr": {
            const { event: stream, data } = event;
            setPieces((before) => added(before, stream, JSON.parse(data) as OutputEvent));
            break;
          }
          case "exit":
            setEnded(JSON.parse(event.data) as Execution);
            complete = true;
            break;
          case "error":
            throw new Error((JSON.parse(event.data) as Problem).detail);
          default: // `start`, and what later versions may say
        }
      }
      if (!complete) throw new Error("The output was cut: the server ended. What ran is in the VM’s history.");
    } catch (failure) {
      if (controller.signal.aborted) setError(new Error("Cancelled: the program was ended."));
      else setError(failure);
    } finally {
      running.current = null;
      setBusy(false);
    }
  }

  return (
    <section class="execute" aria-label="Run code">
      <label for="code">Code</label>
      <textarea
        id="code"
        rows={9}
        spellcheck={false}
        value={code}
        onInput={(event) => setCode(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            void run();
          }
        }}
      />
      <div class="actions">
        <span class="fine">Ctrl+Enter runs it</span>
        {busy ? (
          <button onClick={() => running.current?.abort()}>Cancel</button>
        ) : (
          <button class="primary" disabled={vm.status !== "running"} onClick={() => void run()}>
            Run
          </button>
        )}
      </div>
      {vm.status !== "running" && <p class="note">Code runs in a VM that is running: start it first.</p>}
      <Trouble error={error} />
      <h2>Output</h2>
      <pre class="output" tabIndex={0} aria-label="Output">
        {pieces.length === 0 && <span class="fine">{outputless(busy, ended)}</span>}
        {pieces.map((piece, place) => (
          <span key={place} class={piece.stream}>
            {piece.text}
          </span>
        ))}
      </pre>
      <p class="ending" role="status">
        {busy ? "Running…" : ended && ending(ended)}
      </p>
    </section>
  );
}

function outputless(busy: boolean, ended: Execution | null): string {
  if (busy) return "Nothing written yet.";
  return ended ? "It wrote nothing." : "What your program writes appears here while it runs.";
}

/** How an execution ended, in one line. */
function ending(of: Execution): string {
  const time = of.execution_time === null ? "" : ` after ${duration(of.execution_time)}`;
  if (of.timed_out) return `Ended${time}: its time was over`;
  if (of.oom_killed) return `Ended${time}: it needed more memory than the VM has`;
  if (of.failure !== null) return `Ended${time}: ${of.failure}`;
  return of.exit_code === 0 ? `Done${time}` : `Exit code ${of.exit_code ?? "not known"}${time}`;
}
