/** The languages a VM may be made for, each with a first program to run in it. */
export const LANGUAGES = {
  python: "import platform\nprint('Hello from', platform.node())",
  nodejs: "console.log('Hello from', require('os').hostname());",
  bash: 'echo "Hello from $(hostname)"',
  go: 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("Hello from Go") }',
  rust: 'fn main() { println!("Hello from Rust"); }',
  java: 'public class Main {\n  public static void main(String[] a) { System.out.println("Hello from Java"); }\n}',
} as const;

export type Language = keyof typeof LANGUAGES;

/** A program that works in a VM of this language. */
export function firstProgram(language: string): string {
  return Object.hasOwn(LANGUAGES, language) ? LANGUAGES[language as Language] : "";
}

/** The languages to choose from, with one more where a template has it. */
export function languagesWith(language: string): string[] {
  const known = Object.keys(LANGUAGES);
  return known.includes(language) ? known : [...known, language];
}

/** A name that none of these has: the language and a number. */
export function freeName(language: string, taken: readonly string[]): string {
  for (let number = 1; ; number += 1) {
    const name = `${language}-${number}`;
    if (!taken.includes(name)) return name;
  }
}
