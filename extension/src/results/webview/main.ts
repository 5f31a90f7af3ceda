/** The page of the results panel. */
import "./results.css";
import { unhandled, type FromPanel, type ToPanel } from "../messages";
import { appended, ended, grouped, type Entry, type Group, type Item } from "../model";
import { placesIn, type PlaceLink } from "../../problems/links";
import { element, valueElement } from "./value";

/** Characters in which places are looked for. */
const LINKED = 50_000;

declare function acquireVsCodeApi(): { postMessage(message: FromPanel): void };

const editor = acquireVsCodeApi();
const root = document.getElementById("root") as HTMLElement;
const list = element("div", "entries");
const status = element("p", "status");
status.role = "status";
const clear = button("Clear", () => editor.postMessage({ type: "clear" }));
root.append(element("header", "", element("h1", "", "Results"), clear), status, list);

let entries: readonly Entry[] = [];
const shown = new Map<number, HTMLElement>();
const waiting = new Set<number>();

window.addEventListener("message", (event: MessageEvent<ToPanel>) => hear(event.data));
editor.postMessage({ type: "ready" });

function hear(message: ToPanel): void {
  switch (message.type) {
    case "all":
      entries = message.entries;
      shown.clear();
      list.replaceChildren();
      for (const entry of entries) draw(entry.id);
      empty();
      break;
    case "begun":
      entries = [...entries, message.entry];
      draw(message.entry.id);
      empty();
      break;
    case "output":
      change(message.id, (entry) => appended(entry, message.place, message.items));
      break;
    case "ended":
      change(message.id, (entry) => ended(entry, message.place, message.ending, message.ok));
      say(message.id);
      break;
    default:
      unhandled(message);
  }
}

function change(id: number, how: (entry: Entry) => Entry): void {
  entries = entries.map((entry) => (entry.id === id ? how(entry) : entry));
  // A flood of output is drawn as often as the screen is.
  if (waiting.size === 0) {
    requestAnimationFrame(() => {
      for (const one of waiting) draw(one);
      waiting.clear();
    });
  }
  waiting.add(id);
}

function empty(): void {
  status.textContent = entries.length > 0 ? "" : "Nothing has been run yet. Run a selection, a file or a cell in a VM.";
}

function say(id: number): void {
  const entry = entries.find((one) => one.id === id);
  if (!entry?.parts.every((part) => part.ending !== null)) return;
  const good = entry.parts.filter((part) => part.ok).length;
  status.textContent = entry.parts.length === 1 ? `${entry.title}: ${entry.parts[0]?.ending ?? ""}` : `${entry.title}: ${good} of ${entry.parts.length} VMs well`;
}

/** The newest comes first. */
function draw(id: number): void {
  const entry = entries.find((one) => one.id === id);
  if (!entry) return;
  const made = entryElement(entry);
  const before = shown.get(id);
  shown.set(id, made);
  if (before) before.replaceWith(made);
  else list.prepend(made);
}

function entryElement(entry: Entry): HTMLElement {
  const heading = element("h2", "", entry.title);
  heading.id = `entry-${entry.id}`;
  const head = element("div", "head", heading, element("time", "note", new Date(entry.begun).toLocaleTimeString()));
  if (entry.parts.some((part) => part.ending === null)) {
    const stop = button("Cancel", () => editor.postMessage({ type: "cancel", id: entry.id }));
    stop.ariaLabel = `Cancel ${entry.title}`;
    head.append(stop);
  }
  const made = element("section", "entry", head, ...grouped(entry.parts).map((group) => groupElement(entry, group)));
  made.setAttribute("aria-labelledby", heading.id);
  return made;
}

function groupElement(entry: Entry, group: Group): HTMLElement {
  const { part } = group;
  const state = part.ending === null ? "running" : part.ok ? "good" : "bad";
  const names = group.vms.length > 3 ? `${group.vms.slice(0, 3).join(", ")} and ${group.vms.length - 3} more` : group.vms.join(", ");
  const who = element("h3", state, element("span", "vms", names), element("span", "ending", part.ending ?? "running…"));
  who.title = group.vms.join(", ");
  const copied = button("Copy", () => editor.postMessage({ type: "copy", text: part.items.map(plain).join("") }));
  copied.ariaLabel = `Copy the output of ${entry.title} in ${names}`;
  who.append(copied);
  const place = entry.parts.findIndex(({ vm }) => vm === group.vms[0]);
  const opened = (link: PlaceLink) => editor.postMessage({ type: "open", id: entry.id, place, link });
  const made = element("div", `group ${state}`, who, ...part.items.map((item) => itemElement(item, opened)));
  if (part.cut) made.append(element("p", "note", "There was more output than is shown here."));
  return made;
}

function itemElement(item: Item, opened: (link: PlaceLink) => void): HTMLElement {
  switch (item.kind) {
    case "text":
      return element("pre", item.stream, ...linked(item.text, opened));
    case "error":
      return element("pre", "error", ...linked(item.text, opened));
    case "data":
      return valueElement(item.data);
  }
}

/** Text whose places in files are buttons.  Far into a long text there are none: nobody reads it all. */
function linked(text: string, opened: (link: PlaceLink) => void): (Node | string)[] {
  const parts: (Node | string)[] = [];
  let written = 0;
  let from = 0;
  for (const line of text.slice(0, LINKED).split("\n")) {
    for (const link of placesIn(line)) {
      const start = from + link.start;
      const pressed = button(text.slice(start, start + link.length), () => opened(link));
      pressed.className = "link";
      parts.push(text.slice(written, start), pressed);
      written = start + link.length;
    }
    from += line.length + 1;
  }
  return [...parts, text.slice(written)];
}

function plain(item: Item): string {
  if (item.kind !== "data") return item.text;
  const text = item.data["text/plain"];
  return typeof text === "string" ? `${text}\n` : "";
}

function button(label: string, pressed: () => void): HTMLButtonElement {
  const made = element("button", "", label);
  made.type = "button";
  made.addEventListener("click", pressed);
  return made;
}
