// The page of a search: its tree, drawn by the dashboard's modules in a webview that can fetch nothing.

import { randomBytes } from "node:crypto";
import * as vscode from "vscode";
import type { ServerLink } from "./link";
import { SEARCH_REQUEST, type SearchDetail, taskName } from "./protocol";
import { actionOf, pageHtml } from "./search_html";

/** What the page's buttons do. */
export interface PanelActions {
  stop(search: SearchDetail): Promise<void>;
  apply(search: SearchDetail): Promise<void>;
  compare(search: SearchDetail): Promise<void>;
  openReport(search: SearchDetail): Promise<void>;
}

export class SearchPanels implements vscode.Disposable {
  private readonly panels = new Map<string, vscode.WebviewPanel>();
  private readonly newest = new Map<string, SearchDetail>();
  private readonly following: vscode.Disposable[];

  constructor(
    private readonly extension: vscode.Uri,
    private readonly link: ServerLink,
    private readonly actions: PanelActions,
    private readonly guarded: (work: () => Promise<void>) => Promise<unknown>,
  ) {
    this.following = [
      link.onSearchesChanged((ids) => {
        for (const id of ids) if (this.panels.has(id)) void this.guarded(() => this.send(id));
      }),
    ];
  }

  /** Show a search; one that is shown already comes to the front. */
  async open(id: string): Promise<void> {
    const shown = this.panels.get(id);
    if (shown !== undefined) {
      shown.reveal();
      await this.send(id);
      return;
    }
    const search = await this.fetch(id);
    const resources = vscode.Uri.joinPath(this.extension, "out");
    const panel = vscode.window.createWebviewPanel(
      "kernelevolve.search", `Search of ${taskName(search.task)}`, vscode.ViewColumn.Beside,
      { enableScripts: true, localResourceRoots: [resources] },
    );
    panel.iconPath = vscode.Uri.joinPath(this.extension, "media", "activity.svg");
    this.panels.set(id, panel);
    panel.onDidDispose(() => {
      this.panels.delete(id);
      this.newest.delete(id);
    });
    panel.webview.onDidReceiveMessage((message: unknown) => this.guarded(() => this.act(id, message)));
    const address = (name: string) => panel.webview.asWebviewUri(vscode.Uri.joinPath(resources, name)).toString();
    panel.webview.html = pageHtml({
      nonce: randomBytes(16).toString("hex"), source: panel.webview.cspSource,
      script: address("search_page.js"), style: address("search_page.css"),
    });
  }

  dispose(): void {
    for (const panel of this.panels.values()) panel.dispose();
    for (const one of this.following) one.dispose();
  }

  private async fetch(id: string): Promise<SearchDetail> {
    const search = await this.link.request<SearchDetail>(SEARCH_REQUEST, { search: id });
    this.newest.set(id, search);
    return search;
  }

  private async send(id: string): Promise<void> {
    const search = await this.fetch(id);
    // A source can be long and is not shown on the page.
    const best = search.best === null ? null : { node: search.best.node, receipt: search.best.receipt };
    await this.panels.get(id)?.webview.postMessage({ kind: "search", search: { ...search, best } });
  }

  private async act(id: string, message: unknown): Promise<void> {
    const action = actionOf(message);
    if (action === "ready") {
      await this.send(id);
      return;
    }
    const search = this.newest.get(id) ?? (await this.fetch(id));
    await this.actions[action](search);
  }
}
