// The view Searches: every search of the state folder, whoever started it.

import * as vscode from "vscode";
import type { ServerLink } from "./link";
import { isRunning, ratio, type SearchSummary, SEARCHES_REQUEST, taskName } from "./protocol";

/** A row's texts and icon. */
export interface Row {
  readonly label: string;
  readonly description: string;
  readonly tooltip: string;
  readonly icon: string;
  /** What menus go by: `search`, then `running` and `applicable` where it is so. */
  readonly context: string;
}

/** What is shown of a search. */
export function row(search: SearchSummary): Row {
  const running = isRunning(search);
  const gain = search.best_speedup === null ? "nothing correct yet" : ratio(search.best_speedup);
  const count = `${search.evaluations}/${search.budget}`;
  const applicable = search.best_speedup !== null && search.kernel_uri !== null;
  return {
    label: taskName(search.task),
    description: `${gain} · ${count} · ${search.platform}`,
    tooltip: `${search.id}\n${search.task} on ${search.platform}\n${search.state}, ${count} candidates, best: ${gain}`,
    icon: running ? "sync~spin" : search.best_speedup === null ? "circle-slash" : "pass",
    context: ["search", ...(running ? ["running"] : []), ...(applicable ? ["applicable"] : [])].join(" "),
  };
}

export class SearchesView implements vscode.TreeDataProvider<SearchSummary> {
  private readonly changed = new vscode.EventEmitter<undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  /** Told how many searches run, whenever the list was fetched. */
  onCount: (running: number) => void = () => undefined;
  private known: readonly SearchSummary[] = [];

  constructor(private readonly link: ServerLink) {
    link.onStateChanged(() => { this.refresh(); });
    link.onSearchesChanged(() => { this.refresh(); });
  }

  /** Fetch the list anew. */
  refresh(): void {
    this.changed.fire(undefined);
  }

  /** Searches as they were last fetched. */
  get all(): readonly SearchSummary[] {
    return this.known;
  }

  getTreeItem(search: SearchSummary): vscode.TreeItem {
    const shown = row(search);
    const item = new vscode.TreeItem(shown.label);
    item.id = search.id;
    item.description = shown.description;
    item.tooltip = shown.tooltip;
    item.iconPath = new vscode.ThemeIcon(shown.icon);
    item.contextValue = shown.context;
    item.command = { command: "kernelevolve.openSearch", title: "Open Search Tree", arguments: [search] };
    return item;
  }

  async getChildren(search?: SearchSummary): Promise<SearchSummary[]> {
    if (search !== undefined) return [];
    if (this.link.state !== "running") {
      this.take([]);
      return [];
    }
    const answer = await this.link.request<{ searches: SearchSummary[] }>(SEARCHES_REQUEST, {});
    this.take(answer.searches);
    // Those that go on first; within each the server's order, the newest first.
    return [...answer.searches].sort((one, other) => Number(isRunning(other)) - Number(isRunning(one)));
  }

  private take(searches: readonly SearchSummary[]): void {
    this.known = searches;
    this.onCount(searches.filter(isRunning).length);
  }
}
