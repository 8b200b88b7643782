// Texts that lie in no file: results as Markdown, found kernels for a comparison.

import * as vscode from "vscode";

export const SCHEME = "kernelevolve";
const KEPT = 30;

/** Read-only documents of the scheme `kernelevolve:`. */
export class Pages implements vscode.TextDocumentContentProvider {
  private readonly texts = new Map<string, string>();
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changed.event;

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.toString()) ?? "This text is not kept any more. Run the command again.\n";
  }

  /** Keep a text under a name; one of the same name is replaced. */
  keep(name: string, text: string): vscode.Uri {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${name}` });
    const key = uri.toString();
    this.texts.delete(key);
    this.texts.set(key, text);
    for (const oldest of this.texts.keys()) {
      if (this.texts.size <= KEPT) break;
      this.texts.delete(oldest);
    }
    this.changed.fire(uri);
    return uri;
  }

  /** Show Markdown as people read it. */
  async showMarkdown(title: string, markdown: string): Promise<void> {
    const uri = this.keep(`${title.replaceAll(/[\\/]/g, " ")}.md`, markdown);
    await vscode.commands.executeCommand("markdown.showPreviewToSide", uri);
  }
}
