/** The results panel: a webview beside the editor that shows what runs put out. */
import * as vscode from "vscode";
import { page, webviewRoots } from "../webviewPage";
import { fromPanel, unhandled, type ToPanel } from "./messages";
import type { Results } from "./results";

export class ResultsPanel {
  private panel: vscode.WebviewPanel | null = null;

  constructor(
    private readonly extension: vscode.Uri,
    private readonly results: Results,
  ) {
    results.onDidChange((message) => this.tell(message));
  }

  /** Make it visible; the cursor stays where it is. */
  show(): void {
    if (this.panel) {
      this.panel.reveal(undefined, true);
      return;
    }
    const column = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true };
    const panel = vscode.window.createWebviewPanel("vmpool.results", "VM Results", column, {
      enableScripts: true,
      localResourceRoots: webviewRoots(this.extension),
    });
    this.panel = panel;
    panel.webview.onDidReceiveMessage((message: unknown) => this.hear(message));
    panel.onDidDispose(() => (this.panel = null));
    panel.webview.html = page(panel.webview, this.extension, "results", "VM Results");
  }

  dispose(): void {
    this.panel?.dispose();
  }

  private tell(message: ToPanel): void {
    // One that is hidden has no page: it asks for all when it is shown again.
    void this.panel?.webview.postMessage(message);
  }

  private hear(value: unknown): void {
    const message = fromPanel(value);
    if (message === null) return;
    switch (message.type) {
      case "ready":
        this.tell({ type: "all", entries: this.results.entries });
        break;
      case "cancel":
        this.results.cancel(message.id);
        break;
      case "clear":
        this.results.clear();
        break;
      case "open":
        this.results.open(message.id, message.place, message.link);
        break;
      case "copy":
        void vscode.env.clipboard.writeText(message.text);
        break;
      default:
        unhandled(message);
    }
  }
}
