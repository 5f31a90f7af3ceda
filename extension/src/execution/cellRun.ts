/** A cell, in one VM or several: its outputs to the results, its errors to the document. */
import { words } from "../api/problem";
import type { CellOutput, VM } from "../api/types";
import type { Core } from "../core";
import type { Diagnostics } from "../problems/diagnostics";
import { findingsOf } from "../problems/parsers";
import type { Origin } from "../problems/places";
import { openPlace } from "../results";
import type { Item } from "../results/model";
import type { Report, Results } from "../results/results";
import type { Code } from "./code";
import { cellEnding, type Kernels } from "./kernels";

export interface CellParts {
  readonly kernels: Kernels;
  readonly results: Results;
  readonly diagnostics: Diagnostics;
}

/** Answers when it has ended in all, and whether it ended well in all; what failed is among the results. */
export async function runCell(core: Core, parts: CellParts, code: Code, vms: readonly VM[]): Promise<boolean> {
  const client = await core.connection.client();
  const stopping = new AbortController();
  /** Where the cells of each VM's kernel stand, once it has told. */
  const known = new Map<number, ReadonlyMap<number, Origin>>();
  const report = parts.results.begin(code.title, vms.map((vm) => vm.name), () => stopping.abort(), (place, link) => {
    const vm = vms[place];
    if (vm) void openPlace(vm, { uri: code.uri, origin: code.origin, cells: known.get(place) ?? new Map() }, link);
  });
  parts.diagnostics.clear(code.uri);
  const ends = await Promise.all(
    vms.map(async (vm, place) => {
      try {
        const { ok, cells } = await inOne(client, parts, code, vm, place, report, stopping.signal);
        known.set(place, cells);
        return ok;
      } catch (error) {
        report.add(place, [{ kind: "error", text: words(error) }]);
        report.end(place, "no result", false);
        return false;
      }
    }),
  );
  return ends.every(Boolean);
}

async function inOne(
  client: Awaited<ReturnType<Core["connection"]["client"]>>,
  parts: CellParts,
  code: Code,
  vm: VM,
  place: number,
  report: Report,
  signal: AbortSignal,
): Promise<{ readonly ok: boolean; readonly cells: ReadonlyMap<number, Origin> }> {
  let said = "";
  const cell = { code: code.text, language: code.language, origin: code.origin };
  const { result, cells } = await parts.kernels.run(
    client,
    vm,
    code.uri,
    cell,
    (output) => {
      if (output.type === "error") said += `${output.traceback ?? ""}\n`;
      report.add(place, [itemOf(output)]);
    },
    signal,
  );
  report.end(place, cellEnding(result), result.state === "ok");
  parts.diagnostics.add(vm, { uri: code.uri, origin: code.origin, cells }, findingsOf(code.language, said));
  return { ok: result.state === "ok", cells };
}

function itemOf(output: CellOutput): Item {
  switch (output.type) {
    case "stdout":
    case "stderr":
      return { kind: "text", stream: output.type, text: output.text ?? "" };
    case "result":
    case "display":
      return { kind: "data", data: output.data ?? {} };
    case "error":
      return { kind: "error", text: output.traceback ?? `${output.name ?? "Error"}: ${output.value ?? ""}` };
  }
}
