/** What a VM reached and tried to reach, and what it may. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { ask } from "../api/client";
import type { Network as NetworkOf, NetworkLogEntry, NetworkPolicy, VM } from "../api/types";
import { bytes } from "../model/format";
import { rulesOf } from "../model/rules";
import { Trouble } from "./parts";

const SHOWN = 100;
const LOOK_EVERY = 3000;

export function Network({ vm, manages }: { vm: VM; manages: boolean }) {
  const [network, setNetwork] = useState<NetworkOf | null>(null);
  const [entries, setEntries] = useState<readonly NetworkLogEntry[]>([]);
  const [said, setSaid] = useState("");
  const [error, setError] = useState<unknown>(null);

  const look = useCallback(async () => {
    if (document.hidden) return;
    try {
      const path = `/api/vms/${vm.id}/network`;
      const [found, log] = await Promise.all([
        ask<NetworkOf>("GET", path),
        ask<NetworkLogEntry[]>("GET", `${path}/log?limit=${SHOWN}`),
      ]);
      setNetwork(found);
      setEntries(log);
      setError(null);
    } catch (failure) {
      setError(failure);
    }
  }, [vm.id]);

  // No event tells of a connection: a VM may open hundreds a second.
  useEffect(() => {
    void look();
    const timer = setInterval(() => void look(), LOOK_EVERY);
    return () => {
      clearInterval(timer);
    };
  }, [look]);

  return (
    <section aria-label="Network" class="stack">
      <Trouble error={error} />
      {network?.mode === "none" && (
        <p class="note">This VM reaches nothing. That was chosen when it was made, and stays.</p>
      )}
      {network !== null && network.mode !== "none" && (
        <>
          <p class="facts">
            {network.use.open} open · {network.use.allowed} ended · {network.use.refused} refused ·{" "}
            {network.use.failed} failed · {bytes(network.use.bytes_down)} in · {bytes(network.use.bytes_up)} out
          </p>
          {manages && network.mode === "filtered" && (
            <Rules
              key={JSON.stringify(network.policy)}
              vm={vm}
              policy={network.policy}
              changed={(found) => {
                setNetwork(found);
                setSaid("These rules hold from now on; connections they forbid were ended.");
              }}
            />
          )}
          <p role="status">{said}</p>
          <Log entries={entries} />
        </>
      )}
    </section>
  );
}

interface RulesProps {
  readonly vm: VM;
  readonly policy: NetworkPolicy;
  readonly changed: (network: NetworkOf) => void;
}

function Rules({ vm, policy, changed }: RulesProps) {
  const [allow, setAllow] = useState(policy.allow?.join("\n") ?? "");
  const [deny, setDeny] = useState(policy.deny?.join("\n") ?? "");
  const [error, setError] = useState<unknown>(null);

  async function save(): Promise<void> {
    setError(null);
    try {
      const body = { ...policy, allow: rulesOf(allow), deny: rulesOf(deny) };
      changed(await ask<NetworkOf>("PUT", `/api/vms/${vm.id}/network`, { body }));
    } catch (failure) {
      setError(failure);
    }
  }

  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <div class="pair">
        <div>
          <label for="allow">May reach, one a line (nothing: every public address)</label>
          <textarea
            id="allow"
            rows={3}
            spellcheck={false}
            value={allow}
            onInput={(event) => setAllow(event.currentTarget.value)}
          />
        </div>
        <div>
          <label for="deny">May not reach</label>
          <textarea
            id="deny"
            rows={3}
            spellcheck={false}
            value={deny}
            onInput={(event) => setDeny(event.currentTarget.value)}
          />
        </div>
      </div>
      <div class="actions">
        <button class="primary">Set these rules</button>
      </div>
      <Trouble error={error} />
    </form>
  );
}

function Log({ entries }: { entries: readonly NetworkLogEntry[] }) {
  if (entries.length === 0) return <p class="note">It has not tried to reach anything yet.</p>;
  return (
    <div class="wide" tabIndex={0} role="region" aria-label="Network log">
      <table>
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">Where to</th>
            <th scope="col">What became of it</th>
            <th scope="col">Why</th>
            <th scope="col">In</th>
            <th scope="col">Out</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <tr key={entry.id}>
              <td>{new Date(entry.time).toLocaleTimeString()}</td>
              <td>
                {entry.host}:{entry.port}
              </td>
              <td class={entry.verdict === "allowed" ? "" : "why"}>{entry.verdict}</td>
              <td>{entry.rule}</td>
              <td>{bytes(entry.bytes_down)}</td>
              <td>{bytes(entry.bytes_up)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
