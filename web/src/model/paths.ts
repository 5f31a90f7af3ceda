/** Paths in a VM, percent-encoded as the server takes them: their names may be any bytes. */

export const HOME = "/home/user";

/** The path of a name in a directory. */
export function entered(folder: string, encodedName: string): string {
  return folder === "/" ? `/${encodedName}` : `${folder}/${encodedName}`;
}

/** The directory that this one is in. */
export function above(folder: string): string {
  return folder.slice(0, folder.lastIndexOf("/")) || "/";
}
