/** The way in: an API key, exchanged for a cookie that scripts cannot read. */
import { useState } from "preact/hooks";
import { Refused, ask } from "../api/client";
import type { Session } from "../api/types";
import { Trouble } from "./parts";

interface Props {
  /** Whether there was a session that has ended. */
  readonly again: boolean;
  readonly signedIn: (session: Session) => void;
}

export function SignIn({ again, signedIn }: Props) {
  const [key, setKey] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  async function submit(): Promise<void> {
    setBusy(true);
    setError(null);
    try {
      signedIn(await ask<Session>("POST", "/api/session", { key: key.trim() }));
    } catch (failure) {
      const wrong = failure instanceof Refused && failure.status === 401;
      setError(wrong ? new Error("This key does not work. Copy the whole of it, or make a new one.") : failure);
      setBusy(false);
    }
  }

  return (
    <main class="signin">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <p class="brand" aria-hidden="true">
          <span class="mark" />
          vmpool
        </p>
        <h1>Sign in to your pool</h1>
        {again && <p class="note">Your session has ended. Nothing that runs was touched.</p>}
        <label for="key">API key</label>
        <input
          id="key"
          type="password"
          autocomplete="current-password"
          spellcheck={false}
          required
          placeholder="vmp_…"
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
        <Trouble error={error} />
        <button class="primary" disabled={busy || key.trim() === ""}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
        <p class="fine">
          The key of whoever started the server is in <code>owner.key</code> in its state directory.{" "}
          <code>vm keys create</code> makes another.
        </p>
      </form>
    </main>
  );
}
