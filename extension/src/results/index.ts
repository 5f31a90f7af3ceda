/** Runs and cells are shown in the results panel. */
import { isCancelled } from "../api/problem";
import type { Core } from "../core";
import type { Subscription } from "../emitter";
import { ending, succeeded, type Run } from "../run/run";
import type { Results } from "./results";

export function showRuns(core: Core, results: Results, shown: () => void): Subscription {
  return core.runs.onDidBegin((run) => {
    report(run, results);
    if (run.parts.length > 1) shown(); // one alone is in the output channel; several are compared here
  });
}

function report(run: Run, results: Results): void {
  const told = results.begin(run.request.title, run.parts.map((part) => part.vm.name), () => run.cancel());
  run.onOutput(({ part, piece }) => told.add(run.parts.indexOf(part), [{ kind: "text", ...piece }]));
  run.onPartEnd((part) => {
    const place = run.parts.indexOf(part);
    if (part.error instanceof Error && !isCancelled(part.error)) told.add(place, [{ kind: "error", text: part.error.message }]);
    told.end(place, part.error instanceof Error && !isCancelled(part.error) ? "no result" : ending(part), succeeded(part));
  });
}
