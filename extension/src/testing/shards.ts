/** A suite's files over a few VMs: one is prepared, the others are copies of it, and whichever is free takes the next file. */
import { at, type PoolClient } from "../api/client";
import { PoolError } from "../api/problem";
import type { ExecuteRequest, Execution, VM } from "../api/types";
import { quoted } from "../shellWord";
import { resultsOf, type Result } from "./junit";

const PROJECT = "/home/user/project";
const REPORT = "/tmp/vmpool-junit.xml";
/** Characters of a setup that failed. */
const SETUP_SAID = 2_000;
/** Seconds after which VMs of a run are deleted even if the editor is gone. */
const TTL = 3600;

/** Tests of one file. */
export interface Job {
  readonly file: string;
  /** `file::Class::test`; the file itself for all of it. */
  readonly nodes: readonly string[];
}

export interface SuiteOptions {
  readonly vms: number;
  readonly template: string;
  /** A command that prepares the project in its VM; empty: none. */
  readonly setup: string;
  /** What runs pytest, before its own arguments. */
  readonly command: string;
  readonly name: string;
  readonly archive: Buffer;
}

export interface Told {
  readonly note: (text: string) => void;
  readonly begun: (job: Job, vm: VM) => void;
  /** results: null where there is no report; `said` is what it wrote. */
  readonly ended: (job: Job, results: readonly Result[] | null, said: string, seconds: number) => void;
}

/** Run all; jobs that have not begun when `signal` comes are left out.  VMs are deleted whatever happens. */
export async function runSuite(client: PoolClient, jobs: readonly Job[], options: SuiteOptions, told: Told, signal: AbortSignal): Promise<void> {
  const vms: VM[] = [];
  try {
    const first = await create(client, options, `${options.name}-1`, signal);
    vms.push(first);
    await prepare(client, first, options, told, signal);
    vms.push(...(await copies(client, first, Math.min(options.vms, jobs.length) - 1, told, signal)));
    const waiting = [...jobs];
    await Promise.all(
      vms.map(async (vm) => {
        for (let job = waiting.shift(); job !== undefined && !signal.aborted; job = waiting.shift()) {
          told.begun(job, vm);
          await runJob(client, vm, job, options, told, signal);
        }
      }),
    );
  } finally {
    await Promise.allSettled(vms.map((vm) => client.request("delete", "/api/vms/{vm_id}", { path: at(vm) })));
  }
}

async function create(client: PoolClient, options: SuiteOptions, name: string, signal: AbortSignal): Promise<VM> {
  const body = { name, language: "python", template: options.template, ttl: TTL, labels: { "made-by": "vscode-tests" } };
  return await client.request("post", "/api/vms/create", { body, signal });
}

async function prepare(client: PoolClient, vm: VM, options: SuiteOptions, told: Told, signal: AbortSignal): Promise<void> {
  told.note(`${vm.name}: sending ${Math.ceil(options.archive.length / 1024)} kB of the project`);
  await client.request("post", "/api/vms/{vm_id}/files/directory", {
    path: at(vm),
    query: { path: PROJECT, parents: true, existing: true },
    signal,
  });
  await client.raw("put", "/api/vms/{vm_id}/tree", {
    path: at(vm),
    query: { path: PROJECT },
    bytes: options.archive,
    headers: { "content-type": "application/x-tar" },
    signal,
  });
  if (options.setup !== "") {
    const ran = await noted(client, vm, options.setup, { command: options.setup }, told, signal);
    if (ran.exit_code !== 0) throw new Error("The setup of the tests failed, see their output: change the setting vmpool.testSetup.");
  }
  if ((await execute(client, vm, { command: `${options.command} --version` }, signal)).exit_code === 0) return;
  // The server's own registry has it even for VMs that reach nothing else.
  const ran = await noted(client, vm, "installing pytest", { packages: ["pytest"] }, told, signal);
  if (ran.exit_code !== 0) throw new Error("pytest cannot be installed in the VM, see the tests' output: have the template bring it.");
}

async function noted(client: PoolClient, vm: VM, what: string, body: ExecuteRequest, told: Told, signal: AbortSignal): Promise<Execution> {
  told.note(`${vm.name}: ${what}`);
  const ran = await execute(client, vm, body, signal);
  if (ran.exit_code !== 0) told.note(`${ran.output ?? ""}${ran.error ?? ""}`.trim().slice(-SETUP_SAID));
  return ran;
}

/** As many as there is room for. */
async function copies(client: PoolClient, vm: VM, count: number, told: Told, signal: AbortSignal): Promise<readonly VM[]> {
  if (count < 1) return [];
  for (let wanted = count; wanted > 0; wanted -= 1) {
    try {
      return await client.request("post", "/api/vms/{vm_id}/fork", { path: at(vm), body: { count: wanted }, signal });
    } catch (error) {
      if (!(error instanceof PoolError) || signal.aborted) throw error;
      told.note(`${wanted} more VMs: ${error.message}`);
      if (!ROOM.has(error.code)) return [];
    }
  }
  return [];
}

const ROOM: ReadonlySet<string> = new Set(["quota_exceeded", "pool_full", "limit_reached"]);

async function runJob(client: PoolClient, vm: VM, job: Job, options: SuiteOptions, told: Told, signal: AbortSignal): Promise<void> {
  const nodes = job.nodes.map(quoted).join(" ");
  const command = `rm -f ${REPORT}; ${options.command} -p no:cacheprovider -o junit_family=xunit1 --junitxml=${REPORT} ${nodes}`;
  const began = Date.now();
  try {
    const ran = await execute(client, vm, { command }, signal);
    const report = await client.raw("get", "/api/vms/{vm_id}/files", { path: at(vm), query: { path: REPORT }, signal }).catch(noReport);
    const said = `${ran.output ?? ""}${ran.error ?? ""}`;
    const results = report && resultsOf(report.bytes.toString("utf8").replaceAll(`${PROJECT}/`, "")); // paths as they are here
    told.ended(job, results, said, (Date.now() - began) / 1000);
  } catch (error) {
    if (signal.aborted) return;
    told.ended(job, null, error instanceof Error ? error.message : String(error), (Date.now() - began) / 1000);
  }
}

function noReport(error: unknown): null {
  if (error instanceof PoolError && error.code === "path_not_found") return null;
  throw error;
}

async function execute(client: PoolClient, vm: VM, request: ExecuteRequest, signal: AbortSignal): Promise<Execution> {
  const body = { ...request, cancel_on_disconnect: true, ...(request.packages ? {} : { cwd: PROJECT }) };
  return await client.request("post", "/api/vms/{vm_id}/execute", { path: at(vm), body, signal });
}

/** What nobody knows first, then the longest first. */
export function ordered(jobs: readonly Job[], seconds: Readonly<Record<string, number>>): Job[] {
  const known = (job: Job) => seconds[job.file] ?? Number.POSITIVE_INFINITY;
  return [...jobs].sort((one, other) => known(other) - known(one) || one.file.localeCompare(other.file));
}
