/** The results of this editor's runs, kept for the panel whether it is open or not. */
import { Emitter } from "../emitter";
import type { PlaceLink } from "../problems/links";
import type { ToPanel } from "./messages";
import { MOST_ENTRIES, appended, begun, ended, type Entry, type Item } from "./model";

/** Milliseconds for which output is gathered before the panel is told of it. */
const GATHERED = 50;

/** Opens a place in the output of the VM that stands at `place` among the run's. */
export type Open = (place: number, link: PlaceLink) => void;
const nowhere: Open = () => undefined;

/** What a run tells of itself. */
export interface Report {
  readonly add: (place: number, items: readonly Item[]) => void;
  readonly end: (place: number, ending: string, ok: boolean) => void;
}

export class Results {
  private entriesNow: readonly Entry[] = [];
  private readonly cancels = new Map<number, () => void>();
  private readonly opens = new Map<number, Open>();
  private readonly gathered: { id: number; place: number; items: Item[] }[] = [];
  private timer: ReturnType<typeof setTimeout> | null = null;
  private lastId = 0;
  private readonly changes = new Emitter<ToPanel>();
  readonly onDidChange = this.changes.event;

  /** Oldest first. */
  get entries(): readonly Entry[] {
    this.flush();
    return this.entriesNow;
  }

  begin(title: string, vms: readonly string[], cancel: () => void, open: Open = nowhere): Report {
    const id = (this.lastId += 1);
    const entry = begun(id, title, Date.now(), vms);
    this.cancels.set(id, cancel);
    this.opens.set(id, open);
    const waiting = this.entriesNow.length - MOST_ENTRIES + 1;
    this.entriesNow = [...(waiting > 0 ? this.entriesNow.slice(waiting) : this.entriesNow), entry];
    this.changes.fire({ type: "begun", entry });
    return {
      add: (place, items) => this.add(id, place, items),
      end: (place, ending, ok) => {
        this.flush();
        this.change(id, (one) => ended(one, place, ending, ok));
        this.changes.fire({ type: "ended", id, place, ending, ok });
      },
    };
  }

  cancel(id: number): void {
    this.cancels.get(id)?.();
  }

  /** Show what a place in the output of one VM means. */
  open(id: number, place: number, link: PlaceLink): void {
    this.opens.get(id)?.(place, link);
  }

  /** Forget those that have ended. */
  clear(): void {
    this.flush();
    this.entriesNow = this.entriesNow.filter((entry) => entry.parts.some((part) => part.ending === null));
    this.changes.fire({ type: "all", entries: this.entriesNow });
  }

  dispose(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.changes.dispose();
  }

  private add(id: number, place: number, items: readonly Item[]): void {
    const last = this.gathered[this.gathered.length - 1];
    if (last?.id === id && last.place === place) last.items.push(...items);
    else this.gathered.push({ id, place, items: [...items] });
    this.timer ??= setTimeout(() => this.flush(), GATHERED);
  }

  private flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    for (const { id, place, items } of this.gathered.splice(0)) {
      this.change(id, (entry) => appended(entry, place, items));
      this.changes.fire({ type: "output", id, place, items });
    }
  }

  private change(id: number, change: (entry: Entry) => Entry): void {
    this.entriesNow = this.entriesNow.map((entry) => (entry.id === id ? change(entry) : entry));
  }
}
