/** How bytes go through a tunnel: four bytes of length, then as many; a length of 0 ends this direction. */

export const PROTOCOL = "vmpool-tunnel";
export const END: Buffer = Buffer.alloc(4);

/** Bytes as they are sent; not empty. */
export function piece(data: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(data.length);
  return Buffer.concat([head, data]);
}

/** What comes out of one direction. */
export class Pieces {
  private head = Buffer.alloc(0);
  private left = 0;
  /** The end has come; what follows it means nothing. */
  ended = false;

  /** Bytes of pieces in what has come, never empty. */
  feed(data: Buffer): Buffer[] {
    const found: Buffer[] = [];
    let at = 0;
    while (at < data.length && !this.ended) {
      if (this.left > 0) {
        const part = data.subarray(at, at + this.left);
        this.left -= part.length;
        at += part.length;
        found.push(part);
        continue;
      }
      const taken = Math.min(4 - this.head.length, data.length - at);
      this.head = Buffer.concat([this.head, data.subarray(at, at + taken)]);
      at += taken;
      if (this.head.length < 4) continue;
      this.left = this.head.readUInt32BE();
      this.head = Buffer.alloc(0);
      this.ended = this.left === 0;
    }
    return found;
  }
}
