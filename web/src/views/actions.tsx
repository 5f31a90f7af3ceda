/** What can be done to a VM as a whole. */
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import type { VM } from "../api/types";
import { Dialog, Trouble } from "./parts";

interface Props {
  readonly vm: VM;
  readonly failed: (error: unknown) => void;
}

export function Actions({ vm, failed }: Props) {
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);

  async function act(verb: "start" | "stop" | "pause" | "resume"): Promise<void> {
    setBusy(true);
    failed(null);
    try {
      await ask<VM>("POST", `/api/vms/${vm.id}/${verb}`);
    } catch (error) {
      failed(error);
    } finally {
      setBusy(false);
    }
  }

  const stopped = vm.status === "stopped" || vm.status === "error";
  return (
    <div class="actions">
      {stopped ? (
        <button disabled={busy} aria-label={`Start ${vm.name}`} onClick={() => void act("start")}>
          Start
        </button>
      ) : (
        <button
          disabled={busy || !(vm.status === "running" || vm.status === "paused")}
          aria-label={`Stop ${vm.name}`}
          onClick={() => void act("stop")}
        >
          Stop
        </button>
      )}
      {vm.status === "running" && (
        <button disabled={busy} aria-label={`Pause ${vm.name}`} onClick={() => void act("pause")}>
          Pause
        </button>
      )}
      {vm.status === "paused" && (
        <button disabled={busy} aria-label={`Resume ${vm.name}`} onClick={() => void act("resume")}>
          Resume
        </button>
      )}
      <button
        class="danger"
        disabled={vm.status === "deleting"}
        aria-label={`Delete ${vm.name}`}
        onClick={() => setAsking(true)}
      >
        Delete
      </button>
      {asking && <Delete vm={vm} close={() => setAsking(false)} />}
    </div>
  );
}

function Delete({ vm, close }: { vm: VM; close: () => void }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);

  async function remove(): Promise<void> {
    setBusy(true);
    setError(null);
    try {
      await ask<undefined>("DELETE", `/api/vms/${vm.id}`);
      close();
      location.hash = "#/";
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  }

  return (
    <Dialog title={`Delete ${vm.name}?`} close={close}>
      <p>Its files are gone for good, and whatever runs in it ends. Its history stays.</p>
      <Trouble error={error} />
      <div class="actions">
        <button type="button" autofocus onClick={close}>
          Keep it
        </button>
        <button class="danger solid" disabled={busy} onClick={() => void remove()}>
          {busy ? "Deleting…" : "Delete VM"}
        </button>
      </div>
    </Dialog>
  );
}
