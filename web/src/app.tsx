/** The whole page: who is signed in, and which view the address names. */
import { useEffect, useState } from "preact/hooks";
import { Refused, ask } from "./api/client";
import type { Session } from "./api/types";
import { mayBeSignedIn, remember } from "./model/hint";
import { Pool } from "./model/pool";
import { Administration } from "./views/administration";
import { Batch } from "./views/batch";
import { Detail, PARTS, type Part } from "./views/detail";
import { Keys } from "./views/keys";
import { List } from "./views/list";
import { Trouble } from "./views/parts";
import { SignIn } from "./views/signin";

type Who = { kind: "asking" } | { kind: "nobody"; again: boolean } | { kind: "user"; session: Session };

export function App() {
  const [who, setWho] = useState<Who>({ kind: "asking" });
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    // asked only by who has been signed in: to ask without a session counts as a try without a key
    if (!mayBeSignedIn()) {
      setWho({ kind: "nobody", again: false });
      return;
    }
    ask<Session>("GET", "/api/session").then(
      (session) => setWho({ kind: "user", session }),
      (failure: unknown) => {
        // 429: too many tries without a key from here; one that works is taken all the same
        if (failure instanceof Refused && [401, 429].includes(failure.status)) leave(true);
        else setError(failure);
      },
    );
  }, []);

  function enter(session: Session): void {
    remember(true);
    setWho({ kind: "user", session });
  }

  function leave(again: boolean): void {
    remember(false);
    setWho({ kind: "nobody", again });
  }

  if (error !== null) {
    return (
      <main class="signin">
        <h1>vmpool</h1>
        <Trouble error={error} />
        <button onClick={() => location.reload()}>Try again</button>
      </main>
    );
  }
  switch (who.kind) {
    case "asking":
      return null;
    case "nobody":
      return <SignIn again={who.again} signedIn={enter} />;
    case "user":
      return <SignedIn session={who.session} left={leave} />;
  }
}

function SignedIn({ session, left }: { session: Session; left: (again: boolean) => void }) {
  const [pool] = useState(() => new Pool(() => left(true)));
  const [state, setState] = useState(pool.state);
  const [error, setError] = useState<unknown>(null);
  const { page, vmId, part } = useAddress();
  useEffect(() => {
    const forget = pool.subscribe(() => setState(pool.state));
    pool.start();
    return () => {
      forget();
      pool.stop();
    };
  }, [pool]);

  async function signOut(): Promise<void> {
    try {
      await ask<undefined>("DELETE", "/api/session");
      left(false);
    } catch (failure) {
      if (failure instanceof Refused && failure.status === 401) left(false);
      else setError(failure);
    }
  }

  const vm = state.vms?.find((each) => each.id === vmId);
  const manages = session.scopes.includes("manage");
  return (
    <>
      <header>
        <a class="brand" href="#/">
          <span class="mark" aria-hidden="true" />
          vmpool
        </a>
        <nav class="pages" aria-label="Pages">
          <Link to="" page={page === "vm" ? "list" : page} of="list">
            VMs
          </Link>
          {session.scopes.includes("execute") && (
            <Link to="batch" page={page} of="batch">
              Batch
            </Link>
          )}
          <Link to="keys" page={page} of="keys">
            Keys
          </Link>
          {session.scopes.includes("admin") && (
            <Link to="administration" page={page} of="administration">
              Administration
            </Link>
          )}
        </nav>
        <span class="grow" />
        <span class="user">{session.user_name}</span>
        <button class="plain" onClick={() => void signOut()}>
          Sign out
        </button>
      </header>
      <Trouble error={error ?? state.trouble} />
      {page === "batch" && <Batch vms={state.vms ?? []} />}
      {page === "keys" && <Keys session={session} />}
      {page === "administration" && <Administration />}
      {page === "list" && <List pool={state} manages={manages} />}
      {vm && (
        <Detail
          key={vm.id}
          vm={vm}
          part={part}
          manages={manages}
          executes={session.scopes.includes("execute")}
          snapshotsChanged={state.snapshots.get(vm.id) ?? 0}
        />
      )}
      {vmId !== null && !vm && (
        <main>
          <h1>{state.vms === null ? "Looking…" : "This VM is not there"}</h1>
          {state.vms !== null && (
            <p>
              It was deleted, or it is somebody else’s. <a href="#/">All VMs</a>
            </p>
          )}
        </main>
      )}
      <p class="unseen" role="status">
        {state.said}
      </p>
    </>
  );
}

interface LinkProps {
  readonly to: string;
  readonly page: Address["page"];
  readonly of: Address["page"];
  readonly children: string;
}

function Link({ to, page, of, children }: LinkProps) {
  return (
    <a href={`#/${to}`} aria-current={page === of ? "page" : undefined}>
      {children}
    </a>
  );
}

const PAGES = ["batch", "keys", "administration"] as const;

interface Address {
  readonly page: "list" | "vm" | (typeof PAGES)[number];
  readonly vmId: number | null;
  readonly part: Part;
}

/** What the address names. */
function useAddress(): Address {
  const [address, setAddress] = useState(addressed);
  useEffect(() => {
    const changed = () => setAddress(addressed());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return address;
}

function addressed(): Address {
  const page = PAGES.find((each) => location.hash === `#/${each}`);
  if (page !== undefined) return { page, vmId: null, part: "run" };
  const found = /^#\/vms\/(\d{1,15})(?:\/([a-z]+))?$/.exec(location.hash);
  const part = PARTS.find((each) => each === found?.[2]) ?? "run";
  return found ? { page: "vm", vmId: Number(found[1]), part } : { page: "list", vmId: null, part };
}
