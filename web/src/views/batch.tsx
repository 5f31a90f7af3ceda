/** The same code in many VMs, each result as soon as it is there. */
import { useEffect, useRef, useState } from "preact/hooks";
import { follow } from "../api/client";
import type { BatchError, Execution, Problem, VM } from "../api/types";
import { duration } from "../model/format";
import { Trouble } from "./parts";

type Item = Execution | BatchError;

export function Batch({ vms }: { vms: readonly VM[] }) {
  const running = vms.filter((vm) => vm.status === "running");
  const [left, setLeft] = useState<ReadonlySet<number>>(new Set());
  const [command, setCommand] = useState("hostname; uname -m");
  const [asked, setAsked] = useState<readonly VM[]>([]);
  const [items, setItems] = useState<ReadonlyMap<number, Item>>(new Map());
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const current = useRef<AbortController | null>(null);
  useEffect(() => () => current.current?.abort(), []);
  const chosen = running.filter((vm) => !left.has(vm.id));

  async function run(): Promise<void> {
    const controller = (current.current = new AbortController());
    setBusy(true);
    setError(null);
    setAsked(chosen);
    setItems(new Map());
    const body = { command, vm_ids: chosen.map((vm) => vm.id) };
    try {
      const asking = { body, signal: controller.signal };
      for await (const event of follow("POST", "/api/vms/batch-execute", asking)) {
        if (event.event === "error") throw new Error((JSON.parse(event.data) as Problem).detail);
        if (event.event !== "message") continue;
        const { place, item } = JSON.parse(event.data) as { place: number; item: Item };
        setItems((before) => new Map(before).set(place, item));
      }
    } catch (failure) {
      if (!controller.signal.aborted) setError(failure);
    } finally {
      setBusy(false);
    }
  }

  return (
    <main>
      <h1>The same in many VMs</h1>
      {running.length === 0 ? (
        <p class="note">
          A batch runs one command in each of your running VMs at once. None is running: make some in the{" "}
          <a href="#/">list of VMs</a>.
        </p>
      ) : (
        <form
          class="stack"
          onSubmit={(event) => {
            event.preventDefault();
            void run();
          }}
        >
          <fieldset>
            <legend>VMs</legend>
            {running.map((vm) => (
              <label class="choice" key={vm.id}>
                <input
                  type="checkbox"
                  checked={!left.has(vm.id)}
                  onChange={(event) => {
                    const next = new Set(left);
                    if (event.currentTarget.checked) next.delete(vm.id);
                    else next.add(vm.id);
                    setLeft(next);
                  }}
                />
                {vm.name}
              </label>
            ))}
          </fieldset>
          <div>
            <label for="command">Command</label>
            <input
              id="command"
              required
              spellcheck={false}
              autocomplete="off"
              value={command}
              onInput={(event) => setCommand(event.currentTarget.value)}
            />
          </div>
          <div class="actions">
            <button class="primary" disabled={busy || chosen.length === 0}>
              {busy ? "Running…" : `Run in ${chosen.length}`}
            </button>
          </div>
        </form>
      )}
      <Trouble error={error} />
      <p role="status">{asked.length > 0 && `${items.size} of ${asked.length} have ended`}</p>
      <ul class="matrix" aria-label="Results">
        {asked.map((vm, place) => (
          <Result key={vm.id} vm={vm} item={items.get(place)} />
        ))}
      </ul>
    </main>
  );
}

function Result({ vm, item }: { vm: VM; item: Item | undefined }) {
  if (item === undefined) {
    return (
      <li>
        <strong>{vm.name}</strong> <span class="state busy">running</span>
      </li>
    );
  }
  if (!("id" in item)) {
    return (
      <li>
        <strong>{vm.name}</strong> <span class="state bad">refused</span>
        <p class="why">{item.error.detail}</p>
      </li>
    );
  }
  const good = item.exit_code === 0;
  return (
    <li>
      <a href={`#/vms/${vm.id}`}>{vm.name}</a>{" "}
      <span class={good ? "state good" : "state bad"}>{good ? "done" : `exit ${item.exit_code ?? item.failure ?? "?"}`}</span>{" "}
      <span class="fine">{item.execution_time !== null && duration(item.execution_time)}</span>
      <pre tabIndex={0} aria-label={`Output of ${vm.name}`}>
        {item.output}
        {item.error !== null && <span class="stderr">{item.error}</span>}
      </pre>
    </li>
  );
}
