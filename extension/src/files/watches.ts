/** What changes in VMs' files is told by the server: one stream for each place that is watched, and none for what lies below another. */
import type { PoolClient } from "../api/client";
import { PoolError, Unreachable, isCancelled } from "../api/problem";
import { nameOf } from "./failures";

export interface FileChange {
  readonly kind: "created" | "changed" | "attributes" | "removed" | "moved" | "lost";
  readonly encoded_path: string;
  readonly encoded_moved_from?: string | null;
}

export type Changed = { readonly kind: "created" | "changed" | "deleted"; readonly path: string };

export interface Place {
  readonly vm: string;
  /** Absolute, in the VM. */
  readonly path: string;
  readonly recursive: boolean;
}

/** A VM tells of 16 places at once; some are left to others. */
const MOST_OF_VM = 12;

/** The text of an execution, which is there while it runs. */
const SOURCE = /(?:^|\/)\.vmpool-\d+(?:\.\w+)?$/;

/** What an editor is told of a change below a place; null: more has changed than is known. */
export function changesOf(base: string, change: FileChange): readonly Changed[] | null {
  if (change.kind === "lost") return null;
  if (SOURCE.test(change.encoded_path)) return [];
  const path = below(base, change.encoded_path);
  const from = typeof change.encoded_moved_from === "string" ? below(base, change.encoded_moved_from) : null;
  const gone: Changed[] = from === null ? [] : [{ kind: "deleted", path: from }];
  if (path === null) return gone;
  switch (change.kind) {
    case "created":
    case "moved":
      return [...gone, { kind: "created", path }];
    case "removed":
      return [{ kind: "deleted", path }];
    case "changed":
    case "attributes":
      return [{ kind: "changed", path }];
  }
}

/** null: a name that is no text, which the editor cannot know. */
function below(base: string, encoded: string): string | null {
  if (encoded === "") return base;
  const names = encoded.split("/").map(nameOf);
  return names.includes(null) ? null : `${base === "/" ? "" : base}/${names.join("/")}`;
}

/** Whether one place is told of by watching another. */
export function covers(one: Place, other: Place): boolean {
  if (one.vm !== other.vm) return false;
  if (one.path === other.path) return one.recursive || !other.recursive;
  return one.recursive && other.path.startsWith(one.path === "/" ? "/" : `${one.path}/`);
}

interface Told {
  readonly changed: (vm: string, changes: readonly Changed[]) => void;
  /** Look anew at what lies below: it was not watched for a while. */
  readonly unsure: (place: Place) => void;
  readonly failed: (place: Place, error: unknown) => void;
}

class Stream {
  readonly stopping = new AbortController();
  state: "open" | "broken" = "open";

  constructor(readonly place: Place) {}
}

export class Watches {
  private readonly wanted = new Set<Place>();
  private readonly streams = new Set<Stream>();

  constructor(
    private readonly client: () => Promise<PoolClient>,
    private readonly told: Told,
  ) {}

  /** Be told of this place until the answer is called. */
  add(place: Place): () => void {
    const own = { ...place };
    this.wanted.add(own);
    this.arrange();
    return () => {
      this.wanted.delete(own);
      this.arrange();
    };
  }

  /** Whether changes of this place are told. */
  has(place: Place): boolean {
    return [...this.streams].some((stream) => stream.state === "open" && covers(stream.place, place));
  }

  /** A VM runs (again): what could not be watched is tried again. */
  revive(vm: string): void {
    for (const stream of this.streams) if (stream.state === "broken" && stream.place.vm === vm) this.streams.delete(stream);
    this.arrange();
  }

  dispose(): void {
    this.wanted.clear();
    this.arrange();
  }

  /** A stream for each place that none above it tells of. */
  private arrange(): void {
    const places = [...this.wanted];
    const tops = places.filter(
      (place, at) => !places.some((other, before) => other !== place && covers(other, place) && (!covers(place, other) || before < at)),
    );
    for (const stream of this.streams) {
      if (tops.some((place) => same(place, stream.place))) continue;
      this.streams.delete(stream);
      stream.stopping.abort();
    }
    for (const place of tops) {
      const known = [...this.streams].some((stream) => same(stream.place, place));
      const ofVM = [...this.streams].filter((stream) => stream.place.vm === place.vm).length;
      if (known || ofVM >= MOST_OF_VM) continue;
      const stream = new Stream(place);
      this.streams.add(stream);
      void this.follow(stream);
    }
  }

  private async follow(stream: Stream): Promise<void> {
    const { place } = stream;
    const { signal } = stream.stopping;
    try {
      const query = { path: place.path, recursive: place.recursive };
      const client = await this.client();
      for await (const event of client.events("get", "/api/vms/{vm_id}/files/watch", { path: { vm_id: place.vm }, query, signal })) {
        if (event.event === "watching") this.told.unsure(place);
        if (event.event === "end") break;
        if (event.event !== "change") continue;
        const changes = changesOf(place.path, JSON.parse(event.data) as FileChange);
        if (changes === null) this.told.unsure(place);
        else if (changes.length > 0) this.told.changed(place.vm, changes);
      }
    } catch (error) {
      if (isCancelled(error)) return;
      this.told.failed(place, error);
      if (!(error instanceof PoolError) && !(error instanceof Unreachable)) throw error;
    } finally {
      stream.state = "broken"; // until the VM says that it runs
    }
  }
}

function same(one: Place, other: Place): boolean {
  return one.vm === other.vm && one.path === other.path && one.recursive === other.recursive;
}
