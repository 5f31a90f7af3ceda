/** The VM status panel: a webview that shows the pool as it is, and goes on showing it. */
import * as vscode from "vscode";
import type { Core } from "../core";
import { report } from "../commands";
import { page, webviewRoots } from "../webviewPage";
import type { Subscription } from "../emitter";
import { followLogs } from "./logs";
import { Past, executionView, poolView, troubleOf, vmView } from "./look";
import { ACTIONS, fromPanel, unhandled, type FromPanel, type ToPanel } from "./messages";

/** Milliseconds for which changes are gathered before the page is told. */
const GATHERED = 150;

export class StatusPanel {
  private readonly past = new Past();
  private readonly subscriptions: Subscription[] = [];
  private looking: Subscription | null = null;
  private chosen: number | null = null;
  private logs = new AbortController();
  private timer: NodeJS.Timeout | undefined;
  private lastExecutions = "";

  constructor(
    private readonly core: Core,
    private readonly panel: vscode.WebviewPanel,
  ) {
    const { extensionUri } = core.context;
    panel.iconPath = vscode.Uri.joinPath(extensionUri, "media", "icon.png");
    panel.webview.options = { enableScripts: true, localResourceRoots: webviewRoots(extensionUri) };
    this.subscriptions.push(
      panel.webview.onDidReceiveMessage((message: unknown) => this.hear(message)),
      panel.onDidChangeViewState(() => this.see(panel.visible)),
      core.pool.onDidChange(() => this.changed()),
    );
    panel.webview.html = page(panel.webview, extensionUri, "status", "VM Status");
    this.see(panel.visible);
  }

  /** Bring it to the front; vm: the one whose executions and logs are shown. */
  show(vm: number | null): void {
    this.panel.reveal();
    if (vm !== null) this.choose(vm);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.logs.abort();
    this.looking?.dispose();
    for (const one of this.subscriptions) one.dispose();
  }

  /** Nothing is asked of the server while nobody sees it. */
  private see(visible: boolean): void {
    if (visible === (this.looking !== null)) return;
    this.looking?.dispose();
    this.looking = visible ? this.core.pool.figures.watch() : null;
    if (!visible) this.logs.abort();
  }

  private changed(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.tellPool();
      void this.tellExecutions();
    }, GATHERED);
  }

  private tellPool(): void {
    const { pool } = this.core;
    this.past.note(Date.now(), pool.running(), (id) => pool.figures.of(id));
    const vms = pool.vms ?? [];
    this.tell({
      type: "pool",
      pool: pool.status === null ? null : poolView(pool.status, vms, this.past.pool),
      vms: vms.map((vm) => vmView(vm, pool.figures.of(vm.id), this.past.of(vm.id))),
      trouble: troubleOf(pool.trouble),
    });
    if (this.chosen !== null && pool.vms !== null && !pool.vm(this.chosen)) this.choose(null);
  }

  private choose(vm: number | null): void {
    this.chosen = vm;
    this.lastExecutions = "";
    this.tell({ type: "chosen", vm });
    this.logs.abort();
    if (vm === null) return;
    void this.tellExecutions();
    const { signal } = (this.logs = new AbortController());
    this.core.connection
      .client()
      .then((client) => followLogs(client, vm, (begin, lines) => this.tell({ type: "logs", vm, begin, lines }), signal))
      .catch((error: unknown) => void report(this.core, error));
  }

  private async tellExecutions(): Promise<void> {
    const vm = this.chosen;
    if (vm === null || !this.panel.visible) return;
    try {
      const executions = (await this.core.pool.executions(vm)).map(executionView);
      const text = JSON.stringify(executions);
      if (vm !== this.chosen || text === this.lastExecutions) return;
      this.lastExecutions = text;
      this.tell({ type: "executions", vm, executions });
    } catch (error) {
      this.core.log.debug(`executions of VM ${vm}: ${String(error)}`); // the page says already that the server is away
    }
  }

  private tell(message: ToPanel): void {
    void this.panel.webview.postMessage(message);
  }

  private hear(value: unknown): void {
    const message = fromPanel(value);
    if (message !== null) this.obey(message);
  }

  private obey(message: FromPanel): void {
    switch (message.type) {
      case "ready":
        this.tellPool();
        this.choose(this.chosen);
        break;
      case "choose":
        this.choose(message.vm);
        break;
      case "act":
        void vscode.commands.executeCommand(ACTIONS[message.action], message.vm ?? undefined);
        break;
      case "showExecution":
      case "cancelExecution":
        void this.forExecution(`vmpool.${message.type}`, message.vm, message.execution);
        break;
      default:
        unhandled(message);
    }
  }

  private async forExecution(command: string, vmId: number, id: number): Promise<void> {
    const vm = this.core.pool.vm(vmId);
    const execution = (await this.core.pool.executions(vmId)).find((one) => one.id === id);
    if (vm && execution) await vscode.commands.executeCommand(command, { kind: "execution", vm, execution });
  }
}
