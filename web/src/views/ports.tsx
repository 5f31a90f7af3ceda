/** Links to servers in a VM, for a browser or for somebody else. */
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import type { Share, VM } from "../api/types";
import { Trouble } from "./parts";

const LASTS = { "An hour": 3600, "A day": 86_400, "A week": 604_800 } as const;

export function Ports({ vm }: { vm: VM }) {
  const [port, setPort] = useState("8000");
  const [seconds, setSeconds] = useState(3600);
  const [share, setShare] = useState<Share | null>(null);
  const [said, setSaid] = useState("");
  const [error, setError] = useState<unknown>(null);

  async function act(doing: () => Promise<void>): Promise<void> {
    setError(null);
    setSaid("");
    try {
      await doing();
    } catch (failure) {
      setError(failure);
    }
  }

  const path = `/api/vms/${vm.id}/shares/${port}`;
  return (
    <section aria-label="Ports" class="stack">
      <p class="note">
        A server that listens in the VM, on 127.0.0.1 too, is reached by a link on a host of its own. Whoever has
        the link can use it until it ends. On your own machine <code>vm forward {vm.name} {port}</code> needs no
        link.
      </p>
      <form
        class="inline"
        onSubmit={(event) => {
          event.preventDefault();
          void act(async () => setShare(await ask<Share>("POST", path, { body: { expires_in: seconds } })));
        }}
      >
        <label for="port">Port</label>
        <input
          id="port"
          type="number"
          required
          min="1"
          max="65535"
          value={port}
          onInput={(event) => {
            setPort(event.currentTarget.value);
            setShare(null);
          }}
        />
        <label for="lasts">Works for</label>
        <select
          id="lasts"
          value={seconds}
          onChange={(event) => setSeconds(Number(event.currentTarget.value))}
        >
          {Object.entries(LASTS).map(([words, value]) => (
            <option key={value} value={value}>
              {words}
            </option>
          ))}
        </select>
        <button class="primary">Make a link</button>
        <button
          type="button"
          class="danger"
          onClick={() =>
            void act(async () => {
              await ask<undefined>("DELETE", path);
              setShare(null);
              setSaid(`No link to port ${port} works any more.`);
            })
          }
        >
          End all its links
        </button>
      </form>
      <Trouble error={error} />
      <p role="status">{said}</p>
      {share !== null && (
        <p class="share">
          <a href={share.url} target="_blank" rel="noreferrer">
            {share.url}
          </a>
          <span class="fine"> until {new Date(share.expires_at).toLocaleString()}; it is not shown again</span>
        </p>
      )}
    </section>
  );
}
