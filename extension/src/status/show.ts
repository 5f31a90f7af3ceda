/** What the command “VM Status” shows. */
import * as vscode from "vscode";
import { at } from "../api/client";
import type { VM } from "../api/types";
import type { Core } from "../core";
import { cores, megabytes, vmDescription } from "../views/labels";

/** vm: the one whose status is shown; undefined: the pool's. */
export async function showStatus(core: Core, vm: VM | undefined): Promise<void> {
  const client = await core.connection.client();
  if (vm) {
    const figures = await client.request("get", "/api/vms/{vm_id}/status", { path: at(vm) });
    const limits = `limits: ${cores(vm.cpu_limit)}, ${megabytes(vm.memory_limit)} memory, ${megabytes(vm.disk_limit)} disk`;
    void vscode.window.showInformationMessage(`${vm.name}: ${vmDescription(vm, figures)} (${limits})`);
    return;
  }
  const { use, limits } = await client.request("get", "/api/vms/pool-status");
  void vscode.window.showInformationMessage(
    `${use.vms} of ${limits.max_vms_per_user} VMs, ${use.executions} executions; the pool has ${use.total_vms} of ${limits.max_total_vms}`,
  );
}
