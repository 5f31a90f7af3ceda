/** The languages of the pool, and those of the editor. */

/** What a template is, for who chooses one. */
const SAID: Readonly<Record<string, { readonly label: string; readonly detail: string }>> = {
  python: { label: "Python", detail: "warm interpreter, pip" },
  nodejs: { label: "Node.js", detail: "prestarted, npm" },
  bash: { label: "Bash", detail: "a shell and its tools" },
  go: { label: "Go", detail: "compiled, builds are kept" },
  rust: { label: "Rust", detail: "compiled, cargo" },
  java: { label: "Java", detail: "a waiting JVM" },
  c: { label: "C", detail: "compiled" },
  cpp: { label: "C++", detail: "compiled" },
  typescript: { label: "TypeScript", detail: "compiled, run by Node.js" },
  ruby: { label: "Ruby", detail: "gem" },
  php: { label: "PHP", detail: "" },
  perl: { label: "Perl", detail: "" },
};

/** The editor's ids that the pool calls otherwise. */
const EDITOR_IDS: Readonly<Record<string, string>> = {
  javascript: "nodejs",
  javascriptreact: "nodejs",
  typescriptreact: "typescript",
  shellscript: "bash",
};

export function described(template: string): { readonly label: string; readonly detail: string } {
  const [, name = template, version = ""] = /^([a-z]+?)(\d[\d.]*)$/.exec(template) ?? [];
  const said = Object.hasOwn(SAID, name) ? SAID[name] : undefined;
  if (!said) return { label: template, detail: "" };
  return version === "" ? said : { label: `${said.label} ${version}`, detail: said.detail };
}

/** The pool's language of a document; null where the pool has none. */
export function languageOf(editorId: string): string | null {
  const language = EDITOR_IDS[editorId] ?? editorId;
  return Object.hasOwn(SAID, language) ? language : null;
}

/** A name that none of these has: the template's, as far as VMs may have it, and a number. */
export function freeName(template: string, taken: readonly string[]): string {
  const language = template.replaceAll(/[^a-z0-9]+/g, "-").slice(0, 50).replace(/-$/, "") || "vm";
  for (let number = 1; ; number += 1) {
    const name = `${language}-${number}`;
    if (!taken.includes(name)) return name;
  }
}

/** What is wrong with the name of a VM; undefined: nothing. */
export function nameProblem(name: string, taken: readonly string[]): string | undefined {
  if (!/^[a-z0-9-]*$/.test(name)) return "Small letters, digits and hyphens only.";
  if (name.length === 0 || name.length > 63) return "1 to 63 characters.";
  if (name.startsWith("-") || name.endsWith("-")) return "A letter or digit comes first and last.";
  if (/^[0-9]+$/.test(name)) return "At least one letter: digits alone are ids.";
  return taken.includes(name) ? `There is a VM “${name}” already.` : undefined;
}

/** What is wrong with the name of a template; undefined: nothing. */
export function templateNameProblem(name: string): string | undefined {
  if (/^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/.test(name)) return undefined;
  return "1 to 63 small letters, digits, dots, underscores and hyphens; a letter or digit comes first and last.";
}

/** A template's name for what is kept of a VM at this moment. */
export function keptName(vm: string, now: Date): string {
  const [date = "", time = ""] = now.toISOString().split(/[T.]/);
  return `${vm.slice(0, 40).replace(/-$/, "")}-${date.replaceAll("-", "")}-${time.replaceAll(":", "")}`;
}
