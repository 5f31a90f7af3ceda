/** The chosen VM's executions, and their output as it comes. */
import type { ExecutionView, FromPanel, LogLine } from "../messages";
import { button, element, setText } from "./dom";

/** Pieces of output that are kept in the page. */
const MOST_LINES = 2_000;

export class Detail {
  readonly element: HTMLElement;
  private readonly heading = element("h2", "");
  private readonly rows = element("tbody", "");
  private readonly none = element("p", "note");
  private readonly log = element("div", "log");
  private readonly search = element("input", "");
  private readonly drawn = new Map<number, { readonly text: string; readonly row: HTMLElement }>();

  constructor(private readonly tell: (message: FromPanel) => void) {
    const head = element("tr", "", ...["Execution", "Result", "Begun", ""].map((name) => element("th", "", name)));
    const table = element("table", "", element("thead", "", head), this.rows);
    this.heading.id = "detail";
    this.log.tabIndex = 0;
    this.log.role = "log";
    this.log.ariaLabel = "Output of this VM";
    this.search.type = "search";
    this.search.placeholder = "Filter output";
    this.search.ariaLabel = "Show only output that holds this";
    this.search.addEventListener("input", () => this.filter());
    const output = element("div", "head", element("h3", "", "Output"), this.search);
    this.element = element("section", "detail", this.heading, table, this.none, output, this.log);
    this.element.setAttribute("aria-labelledby", "detail");
  }

  begin(name: string): void {
    setText(this.heading, name);
    this.drawn.clear();
    this.rows.replaceChildren();
    this.log.replaceChildren();
    setText(this.none, "");
  }

  setExecutions(vm: number, executions: readonly ExecutionView[]): void {
    setText(this.none, executions.length === 0 ? "Nothing has run here yet." : "");
    const wanted = executions.map((execution) => this.row(vm, execution));
    for (const row of [...this.rows.children]) if (!wanted.includes(row as HTMLElement)) row.remove();
    // What stands where it belongs is left alone: focus stays.
    wanted.forEach((row, at) => {
      if (this.rows.children[at] !== row) this.rows.insertBefore(row, this.rows.children[at] ?? null);
    });
  }

  addLog(begin: boolean, lines: readonly LogLine[]): void {
    if (begin) this.log.replaceChildren();
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 4;
    for (const { stream, text, execution } of lines) {
      const piece = element("pre", stream, text);
      piece.title = `execution ${execution}`;
      this.log.append(piece);
    }
    while (this.log.childElementCount > MOST_LINES) this.log.firstElementChild?.remove();
    this.filter();
    if (atEnd || begin) this.log.scrollTop = this.log.scrollHeight;
  }

  private filter(): void {
    const wanted = this.search.value.toLowerCase();
    for (const piece of this.log.children) {
      (piece as HTMLElement).hidden = wanted !== "" && !piece.textContent.toLowerCase().includes(wanted);
    }
  }

  private row(vm: number, execution: ExecutionView): HTMLElement {
    const text = JSON.stringify(execution);
    const known = this.drawn.get(execution.id);
    if (known?.text === text) return known.row;
    const show = button(execution.label, `Show the output of execution ${execution.id}: ${execution.label}`, () =>
      this.tell({ type: "showExecution", vm, execution: execution.id }),
    );
    show.className = "link";
    const cancel = button("Cancel", `Cancel execution ${execution.id}`, () =>
      this.tell({ type: "cancelExecution", vm, execution: execution.id }),
    );
    cancel.hidden = execution.state !== "running";
    const time = element("time", "", new Date(execution.at).toLocaleTimeString());
    time.dateTime = execution.at;
    const cells = [show, execution.description, time, cancel].map((content) => element("td", "", content));
    const row = element("tr", execution.state, ...cells);
    this.drawn.set(execution.id, { text, row });
    return row;
  }
}
