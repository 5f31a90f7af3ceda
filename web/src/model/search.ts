/** Finding words in lines. */

export interface Part {
  readonly text: string;
  readonly hit: boolean;
}

/** The text in parts, those that are looked for marked; capital or small letters are one. */
export function parts(text: string, wanted: string): Part[] {
  if (wanted === "") return [{ text, hit: false }];
  const found: Part[] = [];
  const folded = text.toLowerCase();
  const word = wanted.toLowerCase();
  // where folding changes the length, places in one are no places in the other
  if (folded.length !== text.length) return [{ text, hit: folded.includes(word) }];
  let from = 0;
  for (let at = folded.indexOf(word); at >= 0; at = folded.indexOf(word, from)) {
    if (at > from) found.push({ text: text.slice(from, at), hit: false });
    found.push({ text: text.slice(at, at + word.length), hit: true });
    from = at + word.length;
  }
  if (from < text.length || found.length === 0) found.push({ text: text.slice(from), hit: false });
  return found;
}
