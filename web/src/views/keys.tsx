/** One's own API keys. */
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api/client";
import type { APIKey, NewAPIKey, Scope, Session } from "../api/types";
import { ago } from "../model/format";
import { Dialog, Trouble } from "./parts";

const LASTS = { "no end": 0, "a day": 86_400, "a month": 2_592_000, "a year": 31_536_000 } as const;

export function Keys({ session }: { session: Session }) {
  const [keys, setKeys] = useState<readonly APIKey[] | null>(null);
  const [looks, setLooks] = useState(0);
  const [name, setName] = useState("");
  const [ttl, setTtl] = useState(0);
  const [scopes, setScopes] = useState<readonly Scope[]>(session.scopes.filter((each) => each !== "admin"));
  const [made, setMade] = useState<NewAPIKey | null>(null);
  const [revoking, setRevoking] = useState<APIKey | null>(null);
  const [error, setError] = useState<unknown>(null);
  const manages = session.scopes.includes("manage");

  useEffect(() => {
    let current = true;
    ask<APIKey[]>("GET", "/api/keys").then(
      (found) => current && setKeys(found),
      (failure: unknown) => current && setError(failure),
    );
    return () => {
      current = false;
    };
  }, [looks]);

  async function act(doing: () => Promise<void>): Promise<void> {
    setError(null);
    try {
      await doing();
      setLooks((before) => before + 1);
    } catch (failure) {
      setError(failure);
    }
  }

  return (
    <main>
      <h1>API keys</h1>
      <p class="fine">For scripts, the SDK and other machines. Give each a key of its own, that may do no more than it needs.</p>
      {manages && (
        <form
          class="stack"
          onSubmit={(event) => {
            event.preventDefault();
            void act(async () => {
              const body = { name: name.trim(), scopes, ...(ttl > 0 ? { ttl } : {}) };
              setMade(await ask<NewAPIKey>("POST", "/api/keys", { body }));
              setName("");
            });
          }}
        >
          <div class="pair">
            <div>
              <label for="name">What it is for</label>
              <input
                id="name"
                required
                maxLength={255}
                autocomplete="off"
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
              />
            </div>
            <div>
              <label for="ttl">Works until</label>
              <select id="ttl" value={ttl} onChange={(event) => setTtl(Number(event.currentTarget.value))}>
                {Object.entries(LASTS).map(([words, value]) => (
                  <option key={value} value={value}>
                    {words}
                  </option>
                ))}
              </select>
            </div>
          </div>
          <fieldset>
            <legend>It may</legend>
            {session.scopes.map((scope) => (
              <label class="choice" key={scope}>
                <input
                  type="checkbox"
                  checked={scopes.includes(scope)}
                  onChange={(event) => {
                    const { checked } = event.currentTarget;
                    setScopes(checked ? [...scopes, scope] : scopes.filter((each) => each !== scope));
                  }}
                />
                {scope}
              </label>
            ))}
          </fieldset>
          <div class="actions">
            <button class="primary" disabled={scopes.length === 0}>
              Make a key
            </button>
          </div>
        </form>
      )}
      <Trouble error={error} />
      {keys !== null && (
        <ul class="vms" aria-label="API keys">
          {keys.map((key) => (
            <li class="vm" key={key.id}>
              <div class="who">
                <strong>{key.name}</strong> <code>{key.prefix}…</code>
              </div>
              <p class="facts">
                {key.scopes.join(", ")} · made {ago(key.created_at, Date.now())} ·{" "}
                {key.last_used_at === null ? "never used" : `used ${ago(key.last_used_at, Date.now())}`} ·{" "}
                {key.expires_at === null ? "no end" : `until ${new Date(key.expires_at).toLocaleString()}`}
              </p>
              {manages && (
                <div class="actions">
                  <button class="danger" aria-label={`Revoke ${key.name}`} onClick={() => setRevoking(key)}>
                    Revoke
                  </button>
                </div>
              )}
            </li>
          ))}
        </ul>
      )}
      {made !== null && (
        <Dialog title={`The key “${made.name}”`} close={() => setMade(null)}>
          <p>Copy it now: it is kept nowhere and not shown again.</p>
          <pre tabIndex={0} aria-label="The key">
            {made.key}
          </pre>
          <div class="actions">
            <button class="primary" onClick={() => setMade(null)}>
              I have it
            </button>
          </div>
        </Dialog>
      )}
      {revoking !== null && (
        <Dialog title={`Revoke ${revoking.name}?`} close={() => setRevoking(null)}>
          <p>It is refused from now on, and so is whoever signed in with it. This cannot be undone.</p>
          <div class="actions">
            <button autofocus onClick={() => setRevoking(null)}>
              Keep it
            </button>
            <button
              class="danger solid"
              onClick={() => {
                const { id } = revoking;
                setRevoking(null);
                void act(() => ask<undefined>("DELETE", `/api/keys/${id}`));
              }}
            >
              Revoke key
            </button>
          </div>
        </Dialog>
      )}
    </main>
  );
}
