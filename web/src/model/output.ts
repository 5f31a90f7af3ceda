/** What an execution writes, kept as pieces in the order in which they came, within a bound. */
import type { OutputEvent } from "../api/types";

export interface Piece {
  readonly stream: "stdout" | "stderr";
  readonly text: string;
}

/** Characters that are shown; of more, the last. */
export const SHOWN = 200_000;

/** The output with one more piece: joined to the last where it is of the same stream. */
export function added(pieces: readonly Piece[], stream: Piece["stream"], event: OutputEvent): Piece[] {
  const text = event.text ?? decoded(event.base64 ?? "");
  const last = pieces.at(-1);
  const joined =
    last?.stream === stream
      ? [...pieces.slice(0, -1), { stream, text: last.text + text }]
      : [...pieces, { stream, text }];
  return bounded(joined);
}

function decoded(base64: string): string {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}

function bounded(pieces: Piece[]): Piece[] {
  let excess = pieces.reduce((sum, piece) => sum + piece.text.length, 0) - SHOWN;
  const kept: Piece[] = [];
  for (const piece of pieces) {
    if (excess >= piece.text.length) {
      excess -= piece.text.length;
      continue;
    }
    kept.push(excess > 0 ? { ...piece, text: piece.text.slice(excess) } : piece);
    excess = 0;
  }
  return kept;
}
