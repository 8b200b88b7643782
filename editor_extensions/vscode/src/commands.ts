// Commands: those of the palette find the kernel under the cursor, and every one shows what came of it.

import * as vscode from "vscode";
import type { ServerLink } from "./link";
import { handOver } from "./chat";
import type { Pages } from "./pages";
import type { CommandArgument } from "./protocol";
import { type Next, resultOf } from "./results";
import { atCursor, selectedKernel } from "./selection";
import { optimizeWith } from "./settings";

/** Code of the protocol for a request that was cancelled. */
const CANCELLED = new Set([-32800, -32802]);

export class Commands {
  constructor(
    private readonly link: ServerLink,
    private readonly pages: Pages,
    private readonly log: vscode.LogOutputChannel,
  ) {}

  /** Those of the palette, by name. */
  register(): vscode.Disposable[] {
    const run = (name: string, work: () => Promise<void>) =>
      vscode.commands.registerCommand(`kernelevolve.${name}`, () => this.guarded(work));
    return [
      run("optimizeSelected", () => this.onKernel("kernelevolve.optimize")),
      run("verifySelected", () => this.onKernel("kernelevolve.verify")),
      run("profileSelected", () => this.onKernel("kernelevolve.profile")),
      run("applyBestSelected", () => this.onKernel("kernelevolve.applyBest")),
      run("makeTaskSelected", () => this.onAction("kernelevolve.makeTask", "no function that a task can be made from")),
      run("addCaseSelected", () => this.onAction("kernelevolve.addCase", "no task that a case could be added to")),
    ];
  }

  /** Run one of the server's commands, as a lens or a code action asks for it, and show what came of it. */
  async run(command: string, argument: CommandArgument, next: () => Promise<unknown>): Promise<unknown> {
    return await this.guarded(async () => {
      if (command === "kernelevolve.optimize" && !(await this.wantsSearch(argument))) return null;
      const answer = await next();
      await this.show(command, argument, answer);
      return answer;
    });
  }

  /** Do something; what goes wrong is told to the user and written to the log. */
  async guarded<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await work();
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (error instanceof vscode.CancellationError || (typeof code === "number" && CANCELLED.has(code))) {
        vscode.window.setStatusBarMessage("KernelEvolve: cancelled", 4000);
        return undefined;
      }
      const message = error instanceof Error ? error.message : String(error);
      this.log.error(message);
      const chosen = await vscode.window.showErrorMessage(message, "Show Log");
      if (chosen !== undefined) this.log.show();
      return undefined;
    }
  }

  private async onKernel(command: string): Promise<void> {
    const argument = await selectedKernel();
    await this.run(command, argument, () => this.link.command(command, argument));
  }

  private async onAction(command: string, none: string): Promise<void> {
    const argument = await atCursor(command, none);
    await this.run(command, argument, () => this.link.command(command, argument));
  }

  /** Whether a search is to be started; otherwise the chat has got the job, or the user wants neither. */
  private async wantsSearch(argument: CommandArgument): Promise<boolean> {
    if (!vscode.workspace.isTrusted) {
      throw new Error("This workspace is not trusted, so nothing in it is run. Trust it (Workspaces: Manage Trust) first.");
    }
    let way: string | undefined = optimizeWith();
    if (way === "ask") {
      const chosen = await vscode.window.showQuickPick(
        [
          { label: "$(search) Start a search", detail: "Runs in the background; it shows up in the view Searches.", way: "search" },
          { label: "$(comment-discussion) Hand it to the chat", detail: "The chat writes candidates and uses the judge of KernelEvolve.", way: "chat" },
        ],
        { title: `Optimize ${argument.kernel ?? "this file"}`, placeHolder: "The setting kernelevolve.optimizeWith decides without asking" },
      );
      way = chosen?.way;
    }
    if (way === "chat") await handOver(argument);
    return way === "search";
  }

  private async show(command: string, argument: CommandArgument, answer: unknown): Promise<void> {
    const shown = resultOf(command, argument, answer);
    if (shown.kind === "nothing") return;
    if (shown.kind === "page") await this.pages.showMarkdown(shown.title, shown.markdown);
    const text = shown.kind === "page" ? shown.title : shown.text;
    if (shown.kind === "page" && shown.next.length === 0) return;
    const good = shown.kind === "page" || shown.good;
    // Not awaited: the command is done, however long the message stays.
    void this.offer(text, good, shown.next);
  }

  private async offer(text: string, good: boolean, next: readonly Next[]): Promise<void> {
    const tell = good ? vscode.window.showInformationMessage : vscode.window.showWarningMessage;
    const title = await tell(text, ...next.map((button) => button.title));
    const chosen = next.find((button) => button.title === title);
    if (chosen === undefined) return;
    await this.guarded(async () => {
      if (chosen.kind === "openSearch") await vscode.commands.executeCommand("kernelevolve.openSearch", chosen.search);
      else await openFile(chosen.path);
    });
  }
}

/** Open a file: web pages in the browser, all else in the editor. */
export async function openFile(path: string): Promise<void> {
  const uri = vscode.Uri.file(path);
  if (path.endsWith(".html")) await vscode.env.openExternal(uri);
  else await vscode.window.showTextDocument(uri);
}
