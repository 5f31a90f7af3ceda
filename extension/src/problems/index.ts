/** What runs say on standard error becomes diagnostics of the document they came from. */
import { isCancelled } from "../api/problem";
import type { Core } from "../core";
import type { Subscription } from "../emitter";
import type { Part, Run } from "../run/run";
import type { Diagnostics } from "./diagnostics";
import { findingsOf } from "./parsers";

/** Characters of standard error that are kept to be read. */
const KEPT = 1_000_000;

export function watchRuns(core: Core, diagnostics: Diagnostics): Subscription {
  return core.runs.onDidBegin((run) => watch(run, diagnostics));
}

function watch(run: Run, diagnostics: Diagnostics): void {
  const { source, body } = run.request;
  if (!source) return;
  diagnostics.clear(source.uri);
  const said = new Map<Part, string>();
  run.onOutput(({ part, piece }) => {
    if (piece.stream === "stderr") said.set(part, ((said.get(part) ?? "") + piece.text).slice(-KEPT));
  });
  run.onPartEnd((part) => {
    if (isCancelled(part.error)) return;
    const language = body.language ?? part.vm.language;
    const origin = { line: source.firstLine, character: source.firstCharacter ?? 0 };
    diagnostics.add(part.vm, { uri: source.uri, origin }, findingsOf(language, said.get(part) ?? ""));
  });
}
