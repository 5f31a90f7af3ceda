/** One VM: what it is, and its parts, each with an address of its own. */
import { useState } from "preact/hooks";
import type { VM } from "../api/types";
import { megabytes } from "../model/format";
import { Actions } from "./actions";
import { Execute } from "./execute";
import { Figures } from "./figures";
import { Files } from "./files";
import { Logs } from "./logs";
import { Network } from "./network";
import { State, Trouble } from "./parts";
import { Ports } from "./ports";
import { Snapshots } from "./snapshots";
import { TerminalPage } from "./terminal";

/** What the last part of a VM's address may be. */
export const PARTS = ["run", "terminal", "figures", "logs", "files", "snapshots", "ports", "network"] as const;
export type Part = (typeof PARTS)[number];

const TITLES: Record<Part, string> = {
  run: "Run code",
  terminal: "Terminal",
  figures: "Figures",
  logs: "Logs",
  files: "Files",
  snapshots: "Snapshots",
  ports: "Ports",
  network: "Network",
};

interface Props {
  readonly vm: VM;
  readonly part: Part;
  readonly manages: boolean;
  readonly executes: boolean;
  /** Another number: look at its snapshots again. */
  readonly snapshotsChanged: number;
}

export function Detail(props: Props) {
  const { vm, part, manages } = props;
  const [error, setError] = useState<unknown>(null);
  return (
    <main>
      <nav aria-label="Where you are">
        <a href="#/">All VMs</a>
      </nav>
      <div class="title">
        <h1>
          {vm.name} <State of={vm.status} />
        </h1>
        {manages && <Actions vm={vm} failed={setError} />}
      </div>
      <p class="facts">
        VM {vm.id} · {vm.language} · {vm.cpu_limit} CPU · {megabytes(vm.memory_limit)} memory ·{" "}
        {megabytes(vm.disk_limit)} disk · {vm.isolation} · network {vm.network}
      </p>
      <Trouble error={error ?? vm.error} />
      {vm.warnings.map((warning) => (
        <p class="note" key={warning}>
          {warning}
        </p>
      ))}
      <nav class="parts" aria-label={`Parts of ${vm.name}`}>
        {PARTS.map((each) => (
          <a key={each} href={`#/vms/${vm.id}/${each}`} aria-current={each === part ? "page" : undefined}>
            {TITLES[each]}
          </a>
        ))}
      </nav>
      <Shown {...props} />
    </main>
  );
}

function Shown({ vm, part, manages, executes, snapshotsChanged }: Props) {
  switch (part) {
    case "run":
      return executes ? <Execute vm={vm} /> : <p class="note">Your key may look, but not run code.</p>;
    case "terminal":
      return executes ? <TerminalPage vm={vm} /> : <p class="note">Your key may look, but not run a shell.</p>;
    case "figures":
      return <Figures vm={vm} />;
    case "logs":
      return <Logs vm={vm} />;
    case "files":
      return <Files vm={vm} writes={executes} />;
    case "snapshots":
      return <Snapshots vm={vm} manages={manages} changed={snapshotsChanged} />;
    case "network":
      return <Network vm={vm} manages={manages} />;
    case "ports":
      return manages ? <Ports vm={vm} /> : <p class="note">Your key may not make links to ports.</p>;
  }
}
