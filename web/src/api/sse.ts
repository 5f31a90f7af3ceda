/** Server-sent events, read from a response's body: `EventSource` can neither send headers nor a body. */

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
    return blocks.map(parse).filter((found) => found !== null);
  }
}

function parse(block: string): ServerEvent | null {
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

/** The events of a body, until it ends. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent, void> {
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => undefined); // it may have ended already
  }
}
