/** The page of a webview: one script and one style sheet of the extension's own, and nothing else. */
import { randomBytes } from "node:crypto";
import * as vscode from "vscode";

/** name: of the bundle in dist/webview.  What programs made is shown as data URIs. */
export function page(
  webview: vscode.Webview,
  extension: vscode.Uri,
  name: string,
  title: string,
): string {
  const nonce = randomBytes(16).toString("base64");
  const file = (suffix: string) => webview.asWebviewUri(vscode.Uri.joinPath(extension, "dist", "webview", name + suffix)).toString();
  const policy = [
    "default-src 'none'",
    `script-src 'nonce-${nonce}'`,
    `style-src ${webview.cspSource} 'nonce-${nonce}'`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="stylesheet" href="${file(".css")}">
</head>
<body>
<main id="root"></main>
<script nonce="${nonce}" src="${file(".js")}"></script>
</body>
</html>`;
}

/** Where a webview may load from. */
export function webviewRoots(extension: vscode.Uri): vscode.Uri[] {
  return [vscode.Uri.joinPath(extension, "dist", "webview")];
}
