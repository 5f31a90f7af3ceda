/** The form for a new VM: filled in, so that Enter is enough. */
import { useState } from "preact/hooks";
import { ask } from "../api/client";
import type { CreateVM, VM } from "../api/types";
import { LANGUAGES, freeName } from "../model/languages";
import { Dialog, Trouble } from "./parts";

interface Props {
  readonly taken: readonly string[];
  readonly close: () => void;
}

export function Create({ taken, close }: Props) {
  const [language, setLanguage] = useState("python");
  const [name, setName] = useState<string | null>(null);
  const [cpu, setCpu] = useState("1");
  const [memory, setMemory] = useState("512");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const shownName = name ?? freeName(language, taken);

  async function submit(): Promise<void> {
    setBusy(true);
    setError(null);
    const body: CreateVM = {
      name: shownName,
      language,
      cpu_limit: Number(cpu),
      memory_limit: Number(memory),
    };
    try {
      const vm = await ask<VM>("POST", "/api/vms/create", { body });
      close();
      location.hash = `#/vms/${vm.id}`;
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  }

  return (
    <Dialog title="New VM" close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <label for="language">Language</label>
        <select
          id="language"
          value={language}
          onChange={(event) => setLanguage(event.currentTarget.value)}
        >
          {Object.keys(LANGUAGES).map((each) => (
            <option key={each} value={each}>
              {each}
            </option>
          ))}
        </select>
        <label for="name">Name</label>
        <input
          id="name"
          required
          maxLength={63}
          pattern="[a-z0-9\-]+"
          title="Small letters, digits and hyphens"
          autocomplete="off"
          spellcheck={false}
          value={shownName}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <div class="pair">
          <div>
            <label for="cpu">CPU cores</label>
            <input
              id="cpu"
              type="number"
              required
              min="0.1"
              step="0.1"
              value={cpu}
              onInput={(event) => setCpu(event.currentTarget.value)}
            />
          </div>
          <div>
            <label for="memory">Memory, MB</label>
            <input
              id="memory"
              type="number"
              required
              min="16"
              step="1"
              value={memory}
              onInput={(event) => setMemory(event.currentTarget.value)}
            />
          </div>
        </div>
        <Trouble error={error} />
        <div class="actions">
          <button type="button" onClick={close}>
            Cancel
          </button>
          <button class="primary" disabled={busy}>
            {busy ? "Creating…" : "Create VM"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
