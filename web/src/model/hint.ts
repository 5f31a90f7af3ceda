/** Whether this browser may have a session: its cookie is out of a page's reach, so a note says so beside it. */

const NAME = "vmpool.session";

export function mayBeSignedIn(): boolean {
  return localStorage.getItem(NAME) !== null;
}

export function remember(signedIn: boolean): void {
  if (signedIn) localStorage.setItem(NAME, "begun");
  else localStorage.removeItem(NAME);
}
