/** Values in their richest form.  What a program made is never part of this page: pictures are images, HTML is in a frame. */
import { formOf, tableOf, type Table } from "../model";

/** Characters of a picture or a page that are shown. */
const LARGEST = 8_000_000;
const nonce = (document.currentScript as HTMLScriptElement | null)?.nonce ?? "";

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

export function valueElement(data: Readonly<Record<string, unknown>>): HTMLElement {
  const form = formOf(data);
  const plain = typeof data["text/plain"] === "string" ? data["text/plain"] : "";
  if (form === null) return element("p", "note", `A value of the type ${Object.keys(data).join(", ") || "unknown"}.`);
  const value = data[form];
  if (typeof value === "string" && value.length > LARGEST) return element("p", "note", "This value is too large to be shown.");
  switch (form) {
    case "text/html":
      return frame(String(value), plain);
    case "image/svg+xml":
      return picture(form, base64(String(value)), plain);
    case "image/png":
    case "image/jpeg":
    case "image/gif":
    case "image/webp":
      return picture(form, String(value).replaceAll(/\s/g, ""), plain);
    case "application/json":
      return json(value);
    case "text/markdown":
    case "text/latex":
    case "text/plain":
      return element("pre", "result", String(value));
  }
}

function picture(type: string, content: string, alternative: string): HTMLElement {
  const image = element("img", "picture");
  image.alt = alternative || "A picture without a description";
  image.src = `data:${type};base64,${content}`;
  return image;
}

function base64(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}

/** A frame without scripts, forms and links that lead out, under this page's policy: it loads nothing. */
function frame(html: string, title: string): HTMLElement {
  const made = element("iframe", "page");
  made.setAttribute("sandbox", "allow-same-origin");
  made.title = title.slice(0, 200) || "A page made by the program";
  const seen = getComputedStyle(document.documentElement);
  const colour = (name: string) => seen.getPropertyValue(`--vscode-${name}`).replaceAll(/[<>{};]/g, "");
  made.srcdoc = `<!DOCTYPE html><style nonce="${nonce}">
    body { margin: 0; font: ${colour("font-size") || "13px"} ${colour("font-family") || "sans-serif"}; color: ${colour("foreground")}; }
    table { border-collapse: collapse; } th, td { padding: 2px 8px; text-align: right; border-bottom: 1px solid ${colour("panel-border") || "#8884"}; }
  </style>${html}`;
  made.addEventListener("load", () => {
    const height = made.contentDocument?.body.offsetHeight ?? 0;
    made.height = String(Math.min(600, Math.max(24, height + 8)));
  });
  return made;
}

function json(value: unknown): HTMLElement {
  const table = tableOf(value);
  return table === null ? element("pre", "result", JSON.stringify(value, null, 2)) : tableElement(table);
}

function tableElement(table: Table): HTMLElement {
  const head = element("tr", "", ...table.columns.map((name) => {
    const cell = element("th", "", name);
    cell.scope = "col";
    return cell;
  }));
  const rows = table.rows.map((row) => element("tr", "", ...row.map((cell) => element("td", "", cell))));
  const made = element("table", "", element("thead", "", head), element("tbody", "", ...rows));
  const box = element("div", "scroll", made);
  box.tabIndex = 0;
  box.role = "region";
  box.ariaLabel = `Table of ${table.rows.length + table.more} rows`;
  if (table.more > 0) box.append(element("p", "note", `and ${table.more} more rows`));
  return box;
}
