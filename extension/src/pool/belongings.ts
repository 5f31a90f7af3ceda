/** What belongs to VMs, loaded for those of which it is wanted. */

export class Belongings<T> {
  private readonly known = new Map<number, Promise<readonly T[]>>();

  constructor(private readonly load: (vmId: number, signal: AbortSignal) => Promise<readonly T[]>) {}

  /** Those of this VM; a load that failed is tried again by the next who asks. */
  of(vmId: number, signal: AbortSignal): Promise<readonly T[]> {
    const known = this.known.get(vmId);
    if (known) return known;
    const loading = this.load(vmId, signal);
    this.known.set(vmId, loading);
    loading.catch(() => {
      if (this.known.get(vmId) === loading) this.known.delete(vmId);
    });
    return loading;
  }

  /** They are others now. */
  forget(vmId: number): void {
    this.known.delete(vmId);
  }

  clear(): void {
    this.known.clear();
  }
}
