/** Server-sent events, cut from a stream of bytes. */

export interface ServerEvent {
  readonly event: string;
  readonly id: string;
  readonly data: string;
}

/** Cuts a text that comes in pieces into events.  Comments, which only keep the connection open, are left out. */
export class EventParser {
  private rest = "";

  /** The events that are complete with this piece. */
  push(piece: string): ServerEvent[] {
    const blocks = (this.rest + piece).split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.map(parsed).filter((found) => found !== null);
  }
}

function parsed(block: string): ServerEvent | null {
  let event = "message";
  let id = "";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    switch (line.slice(0, colon)) {
      case "event":
        event = value;
        break;
      case "id":
        id = value;
        break;
      case "data":
        data.push(value);
        break;
      default: // fields of later versions
    }
  }
  return data.length > 0 ? { event, id, data: data.join("\n") } : null;
}
