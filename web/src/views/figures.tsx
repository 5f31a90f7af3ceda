/** A VM's figures as they go: sampled, since no event announces them, and only while somebody looks. */
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api/client";
import type { VM, VMStatus } from "../api/types";
import { bytes, duration } from "../model/format";
import { appended, line } from "../model/series";
import { Trouble } from "./parts";

const EVERY = 2_000;
const WIDTH = 300;
const HEIGHT = 80;

export function Figures({ vm }: { vm: VM }) {
  const [now, setNow] = useState<VMStatus | null>(null);
  const [cpu, setCpu] = useState<readonly (number | null)[]>([]);
  const [memory, setMemory] = useState<readonly (number | null)[]>([]);
  const [disk, setDisk] = useState<readonly (number | null)[]>([]);
  const [error, setError] = useState<unknown>(null);

  useEffect(() => {
    const gone = new AbortController();
    async function sample(): Promise<void> {
      if (document.hidden) return;
      try {
        const found = await ask<VMStatus>("GET", `/api/vms/${vm.id}/status`, { signal: gone.signal });
        setNow(found);
        setCpu((before) => appended(before, found.cpu_percent));
        setMemory((before) => appended(before, found.memory_bytes));
        setDisk((before) => appended(before, found.disk_bytes));
        setError(null);
      } catch (failure) {
        if (!gone.signal.aborted) setError(failure);
      }
    }
    void sample();
    const timer = setInterval(() => void sample(), EVERY);
    return () => {
      clearInterval(timer);
      gone.abort();
    };
  }, [vm.id, vm.status]);

  if (now === null) return error === null ? <p class="note">Looking…</p> : <Trouble error={error} />;
  return (
    <section class="figures" aria-label="Figures">
      <Trouble error={error} />
      <Chart label="CPU" series={cpu} top={vm.cpu_limit * 100} text={percent(now, vm)} />
      <Chart
        label="Memory"
        series={memory}
        top={vm.memory_limit * 2 ** 20}
        text={`${known(now.memory_bytes)} of ${bytes(vm.memory_limit * 2 ** 20)}`}
      />
      <Chart
        label="Disk"
        series={disk}
        top={vm.disk_limit * 2 ** 20}
        text={`${known(now.disk_bytes)} of ${bytes(vm.disk_limit * 2 ** 20)}`}
      />
      <dl>
        <dt>Up for</dt>
        <dd>{now.uptime === null ? "not running" : duration(now.uptime)}</dd>
        <dt>CPU time</dt>
        <dd>{now.cpu_seconds === null ? "not known" : duration(now.cpu_seconds)}</dd>
        <dt>Most memory</dt>
        <dd>{known(now.memory_peak_bytes)}</dd>
        <dt>Processes</dt>
        <dd>{now.processes ?? "not known"}</dd>
        <dt>Killed for memory</dt>
        <dd>{now.oom_kills ?? "not known"}</dd>
        <dt>Executions running</dt>
        <dd>{now.executions}</dd>
      </dl>
    </section>
  );
}

interface ChartProps {
  readonly label: string;
  readonly series: readonly (number | null)[];
  readonly top: number;
  readonly text: string;
}

/** Two minutes of one figure against its limit, which is the upper edge. */
function Chart({ label, series, top, text }: ChartProps) {
  return (
    <figure>
      <figcaption>
        <span>{label}</span> <strong>{text}</strong>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${label} over the last two minutes, now ${text}`}
      >
        <path d={line(series, top, WIDTH, HEIGHT)} />
      </svg>
    </figure>
  );
}

function percent(now: VMStatus, vm: VM): string {
  if (now.cpu_percent === null) return "not known";
  return `${Math.round(now.cpu_percent)} % of ${Math.round(vm.cpu_limit * 100)} %`;
}

function known(value: number | null): string {
  return value === null ? "not known" : bytes(value);
}
