/** The pool at a glance, and its VMs. */
import { useEffect, useState } from "preact/hooks";
import type { PoolStatus, VM } from "../api/types";
import { ago, megabytes } from "../model/format";
import type { PoolState } from "../model/pool";
import { Actions } from "./actions";
import { Create } from "./create";
import { Meter, State, Trouble } from "./parts";

export function List({ pool, manages }: { pool: PoolState; manages: boolean }) {
  const [creating, setCreating] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const vms = pool.vms;
  return (
    <main>
      {pool.status && <Overview status={pool.status} />}
      <div class="title">
        <h1>Virtual machines</h1>
        {manages && (
          <button class="primary" disabled={vms === null} onClick={() => setCreating(true)}>
            New VM
          </button>
        )}
      </div>
      <Trouble error={error} />
      {vms === null && <p class="note">Looking at the pool…</p>}
      {vms?.length === 0 && <Nothing />}
      {vms !== null && vms.length > 0 && (
        <ul class="vms" aria-label="VMs">
          {vms.map((vm) => (
            <Row key={vm.id} vm={vm} manages={manages} failed={setError} />
          ))}
        </ul>
      )}
      {creating && <Create taken={(vms ?? []).map((vm) => vm.name)} close={() => setCreating(false)} />}
    </main>
  );
}

function Row({ vm, manages, failed }: { vm: VM; manages: boolean; failed: (error: unknown) => void }) {
  const now = useNow();
  return (
    <li class="vm">
      <div class="who">
        <a href={`#/vms/${vm.id}`}>{vm.name}</a>
        <State of={vm.status} />
      </div>
      <p class="facts">
        {vm.language} · {vm.cpu_limit} CPU · {megabytes(vm.memory_limit)} · {vm.isolation} · made{" "}
        {ago(vm.created_at, now)}
      </p>
      {vm.error !== null && <p class="why">{vm.error}</p>}
      {manages && <Actions vm={vm} failed={failed} />}
    </li>
  );
}

function Overview({ status }: { status: PoolStatus }) {
  const { use, limits, host } = status;
  const taken = host.memory_bytes - host.memory_available_bytes;
  return (
    <section class="overview" aria-label="The pool">
      <Meter
        label="Your VMs"
        value={use.vms}
        limit={limits.max_vms_per_user}
        text={`${use.vms} of ${limits.max_vms_per_user}`}
      />
      <Meter
        label="Whole pool"
        value={use.total_vms}
        limit={limits.max_total_vms}
        text={`${use.total_vms} of ${limits.max_total_vms}`}
      />
      <Meter
        label="Host CPU"
        value={host.cpu_percent ?? 0}
        limit={100}
        text={host.cpu_percent === null ? "not known" : `${Math.round(host.cpu_percent)} % of ${host.cpus} cores`}
      />
      <Meter
        label="Host memory"
        value={taken}
        limit={host.memory_bytes}
        text={`${megabytes(taken / 2 ** 20)} of ${megabytes(host.memory_bytes / 2 ** 20)}`}
      />
    </section>
  );
}

function Nothing() {
  return (
    <section class="empty">
      <h2>No VM yet</h2>
      <p>
        A VM is a small machine of your own: it runs code, keeps its files, and is made in milliseconds.
        Press <strong>New VM</strong>, or in a terminal:
      </p>
      <pre>vm create first python{"\n"}vm execute first "print('hi')"</pre>
      <p>Whichever you take, it shows here at once.</p>
    </section>
  );
}

function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 10_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
