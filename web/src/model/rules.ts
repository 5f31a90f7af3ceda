/** Rules of a network as people write them. */

/** One a line, or several with commas or spaces between; each once. */
export function rulesOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter((rule) => rule !== ""))];
}
