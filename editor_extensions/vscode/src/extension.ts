// Where the editor begins: makes the parts, wires them, starts the server.

import * as vscode from "vscode";
import { ServerConnection } from "./client";
import { Commands, openFile } from "./commands";
import { locateCommand } from "./machine";
import { provideMcpServer } from "./mcp";
import { Pages, SCHEME } from "./pages";
import { SEARCH_REQUEST, type SearchDetail, type SearchSummary, SECTION, STATUS_REQUEST, taskName } from "./protocol";
import type { ServerStatus } from "./protocol";
import { onInterpreterChanged } from "./python";
import { SearchPanels } from "./search_panel";
import { row, SearchesView } from "./searches";
import { RESTARTING } from "./settings";
import { statusPage, StatusItems } from "./status";

let connection: ServerConnection | null = null;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel("KernelEvolve", { log: true });
  const pages = new Pages();
  const link: ServerConnection = new ServerConnection(
    log, context.extensionPath, () => locateCommand(log), (command, argument, next) => commands.run(command, argument, next),
  );
  connection = link;
  const commands: Commands = new Commands(link, pages, log);
  const status = new StatusItems(link, log);
  const searches = new SearchesView(link);
  searches.onCount = (running) => { status.count(running); };
  const view = vscode.window.createTreeView("kernelevolve.searches", { treeDataProvider: searches });
  const actions = new SearchActions(link, pages, commands);
  const panels = new SearchPanels(context.extensionUri, link, actions, (work) => commands.guarded(work));
  const { version } = context.extension.packageJSON as { version: string };

  context.subscriptions.push(
    log, link, status, view, panels,
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, pages),
    ...commands.register(),
    ...registerSearchCommands(searches, panels, actions, commands),
    ...registerServerCommands(link, pages, commands, log),
    provideMcpServer(() => locateCommand(log), version, log, link.onStateChanged),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (RESTARTING.some((name) => change.affectsConfiguration(`${SECTION}.${name}`))) void link.restart();
    }),
    // The server has to be told, and more places may be looked at.
    vscode.workspace.onDidGrantWorkspaceTrust(() => void link.restart()),
    // The view is hidden most of the time, and the count in the status bar must hold then too.
    link.onSearchesChanged(() => void countHidden(view, searches)),
    link.onStateChanged((state) => {
      if (state === "running") void countHidden(view, searches);
    }),
  );
  await link.restart();
  if (link.state === "failed") void offerHelp(link);
  const following = await onInterpreterChanged(log, () => {
    if (link.found?.source !== "setting") void link.restart();
  });
  if (following !== null) context.subscriptions.push(following);
}

export async function deactivate(): Promise<void> {
  await connection?.stop();
  connection = null;
}

async function countHidden(view: vscode.TreeView<SearchSummary>, searches: SearchesView): Promise<void> {
  if (!view.visible) await searches.getChildren();
}

/** Said once at the start; afterwards the status bar goes on saying it. */
async function offerHelp(link: ServerConnection): Promise<void> {
  const chosen = await vscode.window.showErrorMessage(link.trouble, "Open Settings", "Show Log");
  if (chosen === "Open Settings") {
    await vscode.commands.executeCommand("workbench.action.openSettings", "kernelevolve.command");
  } else if (chosen === "Show Log") await vscode.commands.executeCommand("kernelevolve.showLog");
}

/** What can be done with a search, from the view and from its page. */
class SearchActions {
  constructor(
    private readonly link: ServerConnection, private readonly pages: Pages, private readonly commands: Commands,
  ) {}

  async stop(search: SearchSummary): Promise<void> {
    await this.run("kernelevolve.stop", { search: search.id });
  }

  async apply(search: SearchSummary): Promise<void> {
    if (search.kernel_uri === null) throw new Error("The search does not say which file its kernel belongs into.");
    // The server changes files that are open.
    const uri = vscode.Uri.parse(search.kernel_uri);
    await vscode.window.showTextDocument(uri, { viewColumn: vscode.ViewColumn.One });
    await this.run("kernelevolve.applyBest", { uri: uri.toString(), search: search.id });
  }

  async compare(search: SearchSummary): Promise<void> {
    const { best, kernel_uri: file } = await this.link.request<SearchDetail>(SEARCH_REQUEST, { search: search.id });
    if (best === null) throw new Error("The search has no correct kernel yet.");
    const suffix = file === null ? ".txt" : (/\.\w+$/.exec(file)?.[0] ?? ".txt");
    const found = this.pages.keep(`best of ${search.id}${suffix}`, best.source);
    if (file === null) await vscode.window.showTextDocument(found);
    else {
      const title = `${taskName(search.task)}: file ↔ best kernel found`;
      await vscode.commands.executeCommand("vscode.diff", vscode.Uri.parse(file), found, title);
    }
  }

  async openReport(search: SearchDetail): Promise<void> {
    if (search.dashboard !== null) await vscode.env.openExternal(vscode.Uri.parse(search.dashboard));
    else if (search.report !== null) await openFile(search.report);
    else throw new Error("The search has no report yet: it is written when it ends.");
  }

  private async run(command: string, argument: { uri?: string; search: string }): Promise<void> {
    await this.commands.run(command, argument, () => this.link.command(command, argument));
  }
}

function registerSearchCommands(
  searches: SearchesView, panels: SearchPanels, actions: SearchActions, commands: Commands,
): vscode.Disposable[] {
  const register = (name: string, work: (search: SearchSummary) => Promise<void>) =>
    vscode.commands.registerCommand(`kernelevolve.${name}`, (search: SearchSummary) =>
      commands.guarded(() => work(search)));
  return [
    register("stopSearch", (search) => actions.stop(search)),
    register("applySearch", (search) => actions.apply(search)),
    register("compareSearch", (search) => actions.compare(search)),
    vscode.commands.registerCommand("kernelevolve.refreshSearches", () => { searches.refresh(); }),
    vscode.commands.registerCommand("kernelevolve.openSearch", (given?: SearchSummary | string) =>
      commands.guarded(async () => {
        const id = typeof given === "string" ? given : (given?.id ?? (await chooseSearch(searches)));
        if (id !== undefined) await panels.open(id);
      })),
  ];
}

async function chooseSearch(searches: SearchesView): Promise<string | undefined> {
  const all = await searches.getChildren();
  if (all.length === 0) throw new Error("There is no search yet. `Optimize Selected Operator` starts one.");
  const chosen = await vscode.window.showQuickPick(
    all.map((search) => {
      const { label, description } = row(search);
      return { label, description, detail: search.id, id: search.id };
    }),
    { title: "Open Search Tree", matchOnDetail: true },
  );
  return chosen?.id;
}

function registerServerCommands(
  link: ServerConnection, pages: Pages, commands: Commands, log: vscode.LogOutputChannel,
): vscode.Disposable[] {
  return [
    vscode.commands.registerCommand("kernelevolve.showLog", () => { log.show(); }),
    vscode.commands.registerCommand("kernelevolve.restart", async () => {
      await link.restart();
      if (link.state === "failed") await offerHelp(link);
      else vscode.window.setStatusBarMessage("KernelEvolve: the language server was restarted", 4000);
    }),
    vscode.commands.registerCommand("kernelevolve.showStatus", () =>
      commands.guarded(async () => {
        if (link.state === "failed") {
          await offerHelp(link);
          return;
        }
        const found = await link.request<ServerStatus>(STATUS_REQUEST, {});
        const page = statusPage(found, link.found?.command ?? "", link.found?.source ?? "");
        await pages.showMarkdown("KernelEvolve status", page);
      })),
  ];
}
