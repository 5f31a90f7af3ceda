/** Which parsers read the errors of a language. */
import { esbuild, gcc, go, javac, rustc, tsc } from "./compilers";
import type { Finding, Parser } from "./finding";
import { python } from "./python";
import { bash, goPanic, java, node, perl, php, ruby, rustPanic } from "./runtimes";

const PARSERS: Readonly<Record<string, readonly Parser[]>> = {
  python: [python],
  nodejs: [node],
  typescript: [esbuild, tsc, node],
  java: [javac, java],
  go: [go, goPanic],
  rust: [rustc, rustPanic],
  c: [gcc],
  cpp: [gcc],
  ruby: [ruby],
  php: [php],
  perl: [perl],
  bash: [bash],
};

/** More than so many findings help nobody, and more text than this is not looked at. */
const MOST = 200;
const LONGEST = 1_000_000;

/** What a program in this language said of its source.  `python3.13` is Python's. */
export function findingsOf(language: string, text: string): Finding[] {
  const family = /^[a-z]+/.exec(language)?.[0] ?? language;
  const parsers = PARSERS[language] ?? PARSERS[family] ?? [];
  const end = text.length > LONGEST ? text.slice(-LONGEST) : text;
  return parsers.flatMap((parse) => parse(end)).slice(0, MOST);
}
