/** Elements, and charts that are changed rather than made anew, so that whoever reads or types is not disturbed. */
import { MOST_SAMPLES, lineOf, spoken } from "../series";

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

export function button(label: string, spokenLabel: string, pressed: () => void): HTMLButtonElement {
  const made = element("button", "", label);
  made.type = "button";
  made.ariaLabel = spokenLabel;
  made.addEventListener("click", pressed);
  return made;
}

/** Change a text only where it is another one: readers are told of changes. */
export function setText(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

const SVG = "http://www.w3.org/2000/svg";
const BOX = { width: 240, height: 40 };

export class Chart {
  readonly element: HTMLElement;
  private readonly line = document.createElementNS(SVG, "path");
  private readonly area = document.createElementNS(SVG, "path");
  private readonly value = element("span", "value");
  private readonly picture = document.createElementNS(SVG, "svg");

  constructor(private readonly name: string, colour: "cpu" | "memory") {
    this.picture.setAttribute("viewBox", `0 0 ${BOX.width} ${BOX.height}`);
    this.picture.setAttribute("preserveAspectRatio", "none");
    this.picture.setAttribute("role", "img");
    this.picture.setAttribute("class", `chart ${colour}`);
    this.area.setAttribute("class", "area");
    this.line.setAttribute("class", "line");
    this.picture.append(this.area, this.line);
    this.element = element("div", "figure", element("span", "name", name), this.value, this.picture);
  }

  /** most: the value at the top.  limit: what is written behind the value. */
  set(values: readonly (number | null)[], most: number, limit: string, write: (value: number) => string): void {
    const line = lineOf(values, most, BOX);
    this.line.setAttribute("d", line);
    const step = BOX.width / (MOST_SAMPLES - 1);
    const gapless = values.length > 1 && values.every((value) => value !== null);
    const first = BOX.width - (values.length - 1) * step;
    this.area.setAttribute("d", gapless ? `${line}L${BOX.width} ${BOX.height}L${first.toFixed(1)} ${BOX.height}Z` : "");
    const last = values[values.length - 1] ?? null;
    setText(this.value, last === null ? "–" : `${write(last)}${limit}`);
    this.picture.setAttribute("aria-label", spoken(this.name, values, write));
  }
}
