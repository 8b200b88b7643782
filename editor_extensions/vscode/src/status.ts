// How the server is: in the language status of kernels' files, and in the status bar while searches run.

import * as vscode from "vscode";
import type { ServerConnection } from "./client";
import { type ServerStatus, STATUS_REQUEST, type Target } from "./protocol";

/** The status as a page. */
export function statusPage(status: ServerStatus, command: string, source: string): string {
  const line = ({ name, compiles, reason }: Target) =>
    `| \`${name}\` | ${compiles ? "compiles" : `does not compile: ${reason ?? "no reason given"}`} |`;
  return [
    "# KernelEvolve",
    "",
    `- Version: ${status.version}`,
    `- Executable: \`${command}\`, from the ${source}`,
    `- State folder: \`${status.state}\``,
    `- Triton: ${status.triton ?? "not installed; Triton kernels cannot be compiled"}`,
    `- Workspace: ${status.trusted ? "trusted" : "not trusted; nothing is compiled or run"}`,
    `- Compiling now: ${status.compiling}`,
    "",
    "| target | here |",
    "| --- | --- |",
    ...status.targets.map(line),
    "",
  ].join("\n");
}

/** One line about the targets: what is wrong with those that do not compile, or that all do. */
export function targetSummary(targets: readonly Target[]): { readonly text: string; readonly good: boolean } {
  const missing = targets.filter((target) => !target.compiles);
  if (targets.length === 0) return { text: "no target is set", good: false };
  if (missing.length === 0) return { text: targets.map((target) => target.name).join(", "), good: true };
  return { text: `cannot compile for ${missing.map((target) => target.name).join(", ")}`, good: false };
}

export class StatusItems implements vscode.Disposable {
  private readonly language: vscode.LanguageStatusItem;
  private readonly bar: vscode.StatusBarItem;

  constructor(private readonly link: ServerConnection, private readonly log: vscode.LogOutputChannel) {
    this.language = vscode.languages.createLanguageStatusItem(
      "kernelevolve.status", ["python", "cpp", "cuda-cpp"].map((language) => ({ scheme: "file", language })),
    );
    this.language.name = "KernelEvolve";
    this.bar = vscode.window.createStatusBarItem("kernelevolve.searches", vscode.StatusBarAlignment.Left, 0);
    this.bar.name = "KernelEvolve";
    link.onStateChanged(() => void this.update());
  }

  /** Show how many searches run; nothing while none does. */
  count(running: number): void {
    if (this.link.state === "failed") return;
    if (running === 0) {
      this.bar.hide();
      return;
    }
    this.bar.text = `$(sync~spin) ${running} ${running === 1 ? "search" : "searches"}`;
    this.bar.tooltip = "KernelEvolve: show the searches";
    this.bar.command = "kernelevolve.searches.focus";
    this.bar.backgroundColor = undefined;
    this.bar.show();
  }

  async update(): Promise<void> {
    const { state, trouble } = this.link;
    this.language.busy = state === "starting";
    this.language.command = { command: "kernelevolve.showStatus", title: "Details" };
    if (state !== "failed" && this.bar.command === "kernelevolve.showStatus") this.bar.hide();
    if (state === "failed") {
      this.language.severity = vscode.LanguageStatusSeverity.Error;
      this.language.text = "KernelEvolve does not run";
      this.language.detail = trouble;
      this.bar.text = "$(error) KernelEvolve";
      this.bar.tooltip = trouble;
      this.bar.command = "kernelevolve.showStatus";
      this.bar.backgroundColor = new vscode.ThemeColor("statusBarItem.errorBackground");
      this.bar.show();
    } else if (state !== "running") {
      this.language.severity = vscode.LanguageStatusSeverity.Information;
      this.language.text = state === "starting" ? "KernelEvolve starts" : "KernelEvolve is stopped";
      this.language.detail = "";
    } else await this.ask();
  }

  dispose(): void {
    this.language.dispose();
    this.bar.dispose();
  }

  private async ask(): Promise<void> {
    try {
      const status = await this.link.request<ServerStatus>(STATUS_REQUEST, {});
      const { text, good } = targetSummary(status.targets);
      const { Information, Warning } = vscode.LanguageStatusSeverity;
      this.language.severity = good && status.trusted ? Information : Warning;
      this.language.text = `KernelEvolve ${status.version}`;
      this.language.detail = status.trusted ? text : "workspace not trusted: nothing is compiled or run";
    } catch (error) {
      this.log.error(`kernelevolve/status: ${String(error)}`);
      this.language.severity = vscode.LanguageStatusSeverity.Warning;
      this.language.text = "KernelEvolve";
      this.language.detail = "its status could not be read; the log says why";
    }
  }
}
