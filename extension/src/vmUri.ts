/** Addresses of files in VMs: `vmpool:/<name of the VM>/<path in it>`. */
import * as vscode from "vscode";
import type { VM } from "./api/types";

export const SCHEME = "vmpool";
/** Where executions begin, and what a VM's tree of files shows. */
export const HOME = "/home/user";

/** path: in the VM, absolute. */
export function vmUri(vm: Pick<VM, "name">, path: string = HOME): vscode.Uri {
  return vscode.Uri.from({ scheme: SCHEME, path: `/${vm.name}${path}` });
}

/** The VM's name and the path in it. */
export function placeOf(uri: vscode.Uri): { readonly vm: string; readonly path: string } {
  const [, vm = "", ...rest] = uri.path.split("/");
  return { vm, path: `/${rest.join("/")}` };
}
