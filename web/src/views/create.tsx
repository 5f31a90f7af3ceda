/** The form for a new VM: filled in, so that Enter is enough. */
import { useEffect, useState } from "preact/hooks";
import { ask, askAll } from "../api/client";
import type { CreateVM, Template, VM } from "../api/types";
import { freeName, languagesWith } from "../model/languages";
import { Dialog, Trouble } from "./parts";

interface Props {
  readonly taken: readonly string[];
  readonly close: () => void;
}

export function Create({ taken, close }: Props) {
  const [language, setLanguage] = useState("python");
  const [templates, setTemplates] = useState<readonly Template[]>([]);
  const [template, setTemplate] = useState("");
  const [name, setName] = useState<string | null>(null);
  const [cpu, setCpu] = useState("1");
  const [memory, setMemory] = useState("512");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const shownName = name ?? freeName(language, taken);

  useEffect(() => {
    let current = true;
    askAll<Template>("/api/templates?limit=100").then(
      (found) => current && setTemplates(found),
      (failure: unknown) => current && setError(failure),
    );
    return () => {
      current = false;
    };
  }, []);

  function choose(id: string): void {
    setTemplate(id);
    const chosen = templates.find((each) => String(each.id) === id);
    if (chosen !== undefined) setLanguage(chosen.language);
  }

  async function submit(): Promise<void> {
    setBusy(true);
    setError(null);
    const body: CreateVM = {
      name: shownName,
      language,
      cpu_limit: Number(cpu),
      memory_limit: Number(memory),
      ...(template === "" ? {} : { template }),
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
        {templates.length > 0 && (
          <>
            <label for="template">Starts from</label>
            <select
              id="template"
              value={template}
              onChange={(event) => choose(event.currentTarget.value)}
            >
              <option value="">the language's own template</option>
              {templates.map((each) => (
                <option key={each.id} value={String(each.id)}>
                  {each.name}
                </option>
              ))}
            </select>
          </>
        )}
        <label for="language">Language</label>
        <select
          id="language"
          value={language}
          onChange={(event) => setLanguage(event.currentTarget.value)}
        >
          {languagesWith(language).map((each) => (
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
