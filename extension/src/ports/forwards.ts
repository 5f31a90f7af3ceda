/** The ports of VMs that are carried to this machine now. */
import type { Endpoint } from "../api/http";
import { Emitter } from "../emitter";
import { forward, type Forward } from "./forward";

export interface Forwarded {
  readonly vmId: number;
  readonly port: number;
  readonly localPort: number;
}

export class Forwards {
  private readonly open = new Map<string, Forwarded & { readonly held: Forward }>();
  private readonly changes = new Emitter<number>();
  /** Told of the VM whose ports are others. */
  readonly onDidChange = this.changes.event;

  constructor(
    private readonly endpoint: () => Promise<Endpoint>,
    private readonly trouble: (said: string) => void,
  ) {}

  /** Those of a VM, by number. */
  of(vmId: number): readonly Forwarded[] {
    return [...this.open.values()].filter((one) => one.vmId === vmId).sort((a, b) => a.port - b.port);
  }

  /** Carry a port, at the same number here where that is free; one that is carried already stays as it is. */
  async add(vmId: number, port: number, wanted: number = port): Promise<Forwarded> {
    const key = `${vmId}:${port}`;
    const known = this.open.get(key);
    if (known) return known;
    const trouble = (said: string) => this.trouble(`port ${port} of VM ${vmId}: ${said}`);
    const held = await this.listen(vmId, port, wanted, trouble);
    const made = { vmId, port, localPort: held.localPort, held };
    this.open.set(key, made);
    this.changes.fire(vmId);
    return made;
  }

  remove(vmId: number, port: number): void {
    this.open.get(`${vmId}:${port}`)?.held.close();
    if (this.open.delete(`${vmId}:${port}`)) this.changes.fire(vmId);
  }

  /** A VM is gone: so are its ports. */
  keep(vmIds: ReadonlySet<number>): void {
    for (const { vmId, port } of [...this.open.values()]) if (!vmIds.has(vmId)) this.remove(vmId, port);
  }

  dispose(): void {
    for (const { held } of this.open.values()) held.close();
    this.open.clear();
    this.changes.dispose();
  }

  private async listen(vmId: number, port: number, wanted: number, trouble: (said: string) => void): Promise<Forward> {
    const PRIVILEGED = 1024;
    if (wanted >= PRIVILEGED) {
      try {
        return await forward(this.endpoint, vmId, port, wanted, trouble);
      } catch (error) {
        if (!(error instanceof Error)) throw error; // taken here: any other one will do
      }
    }
    return await forward(this.endpoint, vmId, port, 0, trouble);
  }
}

/** A port by what somebody typed; null where it is none. */
export function portOf(text: string): number | null {
  const port = /^\s*(\d{1,5})\s*$/.exec(text)?.[1];
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535 ? Number(port) : null;
}
