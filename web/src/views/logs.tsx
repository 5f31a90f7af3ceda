/** What a VM's executions wrote, as it comes, and a search in it. */
import { useEffect, useState } from "preact/hooks";
import { follow } from "../api/client";
import type { LogEntry, Problem, VM } from "../api/types";
import { parts } from "../model/search";
import { Trouble } from "./parts";

interface Line {
  readonly key: string;
  readonly execution: number;
  readonly stream: LogEntry["stream"];
  readonly text: string;
}

/** Lines that are kept; of more, the last. */
const KEPT = 5_000;
/** Lines that are shown at once: more would make typing slow. */
const SHOWN = 1_000;

export function Logs({ vm }: { vm: VM }) {
  const [lines, setLines] = useState<readonly Line[] | null>(null);
  const [wanted, setWanted] = useState("");
  const [error, setError] = useState<unknown>(null);

  useEffect(() => {
    const gone = new AbortController();
    async function read(): Promise<void> {
      setLines([]);
      // what was written first, and then what is: in one stream, so that nothing falls between
      const path = `/api/vms/${vm.id}/logs?tail=100&follow=true`;
      for await (const event of follow("GET", path, { signal: gone.signal })) {
        if (event.event === "error") throw new Error((JSON.parse(event.data) as Problem).detail);
        const entry = JSON.parse(event.data) as LogEntry;
        setLines((before) => [...(before ?? []), ...linesOf(entry)].slice(-KEPT));
      }
    }
    read().catch((failure: unknown) => {
      if (!gone.signal.aborted) setError(failure);
    });
    return () => gone.abort();
  }, [vm.id]);

  const found = (lines ?? []).filter((each) => each.text.toLowerCase().includes(wanted.toLowerCase()));
  return (
    <section aria-label="Logs" class="stack">
      <div>
        <label for="search">Search</label>
        <input
          id="search"
          type="search"
          autocomplete="off"
          value={wanted}
          onInput={(event) => setWanted(event.currentTarget.value)}
        />
      </div>
      <p class="fine" role="status">
        {lines !== null && counted(found.length, lines.length, wanted)}
      </p>
      <Trouble error={error} />
      {lines?.length === 0 ? (
        <p class="note">Nothing was written yet. Whatever your code prints is kept and shown here.</p>
      ) : (
        <pre class="output tall" tabIndex={0} aria-label="Log">
          {found.slice(-SHOWN).map((each) => (
            <span key={each.key} class={each.stream}>
              <span class="fine">{each.execution} </span>
              {parts(each.text, wanted).map((part, place) =>
                part.hit ? <mark key={place}>{part.text}</mark> : part.text,
              )}
              {"\n"}
            </span>
          ))}
        </pre>
      )}
    </section>
  );
}

let made = 0;

function linesOf(entry: LogEntry): Line[] {
  return entry.text
    .replace(/\n$/, "")
    .split("\n")
    .map((text) => ({ key: String((made += 1)), execution: entry.execution_id, stream: entry.stream, text }));
}

function counted(found: number, all: number, wanted: string): string {
  if (wanted === "") return all > SHOWN ? `The last ${SHOWN} of ${all} lines` : `${all} lines`;
  return `${found} of ${all} lines`;
}
