/** Puts what several write at once into one text, whole lines at a time, each with the name of who wrote it. */

export class LineMixer {
  private readonly unfinished = new Map<string, string>();

  /** plain: there is only one, whose output stands as it comes. */
  constructor(private readonly plain: boolean) {}

  /** What is to be written for this piece. */
  add(name: string, text: string): string {
    if (this.plain) {
      if (text !== "") this.unfinished.set(name, text.endsWith("\n") ? "" : "…");
      return text;
    }
    const lines = ((this.unfinished.get(name) ?? "") + text).split("\n");
    this.unfinished.set(name, lines.pop() ?? "");
    return lines.map((line) => `${name} │ ${line}\n`).join("");
  }

  /** What is to be written when one has ended: its last line, which had no end. */
  end(name: string): string {
    const rest = this.unfinished.get(name) ?? "";
    this.unfinished.delete(name);
    if (rest === "") return "";
    return this.plain ? "\n" : `${name} │ ${rest}\n`;
  }
}
