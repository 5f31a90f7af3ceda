/** A tar archive of files, in the ustar form with pax headers for what does not fit into it. */

const BLOCK = 512;

export interface Packed {
  /** Relative, with slashes. */
  readonly path: string;
  readonly content: Uint8Array;
  readonly executable: boolean;
  /** Seconds since 1970. */
  readonly modified: number;
}

export function archive(files: readonly Packed[]): Buffer {
  const parts = files.flatMap((file) => {
    const name = Buffer.from(file.path);
    const long = name.length > 100 ? [...pax(file)] : [];
    return [...long, header(name.subarray(0, 100), file.content.length, "0", file), padded(file.content)];
  });
  return Buffer.concat([...parts, Buffer.alloc(2 * BLOCK)]);
}

/** The whole path, in an entry before the file's own. */
function* pax(file: Packed): Generator<Buffer> {
  const value = ` path=${file.path}\n`;
  const size = Buffer.byteLength(value);
  let length = size;
  while (length !== size + String(length).length) length = size + String(length).length;
  const record = Buffer.from(`${length}${value}`);
  yield header(Buffer.from("pax"), record.length, "x", file);
  yield padded(record);
}

function header(name: Uint8Array, size: number, kind: "0" | "x", file: Packed): Buffer {
  const made = Buffer.alloc(BLOCK);
  made.set(name, 0);
  made.write(file.executable ? "0000755\0" : "0000644\0", 100);
  made.write("0001750\0", 108); // uid and gid 1000: the VM's user
  made.write("0001750\0", 116);
  made.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  made.write(`${Math.max(0, Math.floor(file.modified)).toString(8).padStart(11, "0")}\0`, 136);
  made.write("        ", 148);
  made.write(kind, 156);
  made.write("ustar\u000000", 257);
  const sum = made.reduce((total, byte) => total + byte, 0);
  made.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return made;
}

function padded(content: Uint8Array): Buffer {
  const made = Buffer.alloc(Math.ceil(content.length / BLOCK) * BLOCK);
  made.set(content);
  return made;
}
