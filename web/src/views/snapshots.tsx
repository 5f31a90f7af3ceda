/** A VM's snapshots: taken, gone back to, deleted; and copies of the VM as it is. */
import { useEffect, useState } from "preact/hooks";
import { ask, askAll } from "../api/client";
import type { Snapshot, VM } from "../api/types";
import { ancestry } from "../model/ancestry";
import { bytes } from "../model/format";
import { Dialog, Trouble } from "./parts";

/** Farther in no line is moved: it says what it came after besides. */
const DEEPEST = 4;

interface Props {
  readonly vm: VM;
  readonly manages: boolean;
  /** Another number: look again. */
  readonly changed: number;
}

interface Question {
  readonly verb: "Restore" | "Delete";
  readonly of: Snapshot;
}

export function Snapshots({ vm, manages, changed }: Props) {
  const [found, setFound] = useState<readonly Snapshot[] | null>(null);
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [asked, setAsked] = useState<Question | null>(null);
  const [error, setError] = useState<unknown>(null);

  useEffect(() => {
    let current = true; // of two looks the answer to the later one counts
    askAll<Snapshot>(`/api/vms/${vm.id}/snapshots?limit=100`).then(
      (snapshots) => current && setFound(snapshots),
      (failure: unknown) => current && setError(failure),
    );
    return () => {
      current = false;
    };
  }, [vm.id, changed]);

  async function act(doing: () => Promise<unknown>): Promise<void> {
    setBusy(true);
    setError(null);
    try {
      await doing();
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  }

  const path = `/api/vms/${vm.id}`;
  return (
    <section aria-label="Snapshots" class="stack">
      {manages && (
        <form
          class="inline"
          onSubmit={(event) => {
            event.preventDefault();
            const body = name.trim() === "" ? {} : { name: name.trim() };
            void act(async () => {
              await ask<Snapshot>("POST", `${path}/snapshot`, { body });
              setName("");
            });
          }}
        >
          <label for="snapshot">Name of a new snapshot</label>
          <input
            id="snapshot"
            autocomplete="off"
            maxLength={255}
            placeholder="made from the time"
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
          />
          <button class="primary" disabled={busy}>
            {busy ? "Working…" : "Take snapshot"}
          </button>
          <button
            type="button"
            disabled={busy}
            onClick={() =>
              void act(async () => {
                const [copy] = await ask<VM[]>("POST", `${path}/fork`, { body: { count: 1 } });
                if (copy) location.hash = `#/vms/${copy.id}`;
              })
            }
          >
            Fork this VM
          </button>
        </form>
      )}
      <Trouble error={error} />
      {found?.length === 0 && (
        <p class="note">
          No snapshot yet. One keeps the VM’s files as they are now, so that you can go back to them. A fork is
          a new VM with the same files.
        </p>
      )}
      {found !== null && found.length > 0 && (
        <ul class="vms" aria-label="Snapshots">
          {ancestry(found).map(({ depth, of: each, after }) => (
            <li class={`vm deep-${Math.min(depth, DEEPEST)}`} key={each.id}>
              <div class="who">
                <strong>{each.name}</strong>
              </div>
              <p class="facts">
                {bytes(each.size)} · {new Date(each.created_at).toLocaleString()}
                {after && ` · after ${after.name}`}
              </p>
              {manages && (
                <div class="actions">
                  <button
                    aria-label={`Restore ${each.name}`}
                    onClick={() => setAsked({ verb: "Restore", of: each })}
                  >
                    Restore
                  </button>
                  <button
                    class="danger"
                    aria-label={`Delete ${each.name}`}
                    onClick={() => setAsked({ verb: "Delete", of: each })}
                  >
                    Delete
                  </button>
                </div>
              )}
            </li>
          ))}
        </ul>
      )}
      {asked !== null && (
        <Sure
          question={asked}
          close={() => setAsked(null)}
          act={() =>
            asked.verb === "Restore"
              ? ask<VM>("POST", `${path}/restore`, { body: { snapshot_id: asked.of.id } })
              : ask<undefined>("DELETE", `${path}/snapshots/${asked.of.id}`)
          }
        />
      )}
    </section>
  );
}

interface SureProps {
  readonly question: Question;
  readonly close: () => void;
  readonly act: () => Promise<unknown>;
}

function Sure({ question, close, act }: SureProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);

  async function go(): Promise<void> {
    setBusy(true);
    setError(null);
    try {
      await act();
      close();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  }

  const { verb, of } = question;
  return (
    <Dialog title={`${verb} ${of.name}?`} close={close}>
      <p>
        {verb === "Restore"
          ? "The VM’s files become what they were then. What was changed since is lost, and what runs ends. Take a snapshot first to be able to come back."
          : "It cannot be gone back to any more. The VM itself stays as it is."}
      </p>
      <Trouble error={error} />
      <div class="actions">
        <button type="button" autofocus onClick={close}>
          Keep it as it is
        </button>
        <button class="danger solid" disabled={busy} onClick={() => void go()}>
          {busy ? "Working…" : `${verb} snapshot`}
        </button>
      </div>
    </Dialog>
  );
}
