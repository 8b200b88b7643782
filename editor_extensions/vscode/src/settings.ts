// The settings: what the server is told, and what is for the extension alone.

import * as vscode from "vscode";
import { SECTION } from "./protocol";

/** What *Optimize* does. */
export type OptimizeWith = "search" | "chat" | "ask";

/** Settings after which the server has to be started anew. */
export const RESTARTING = ["command", "state", "hints.place", "lenses.enabled"] as const;

/** What the server is told at its start and whenever it asks: its own settings, and whether the workspace is trusted. */
export function serverSettings(): Record<string, unknown> {
  const settings = vscode.workspace.getConfiguration(SECTION);
  return {
    targets: settings.get<string[]>("targets"),
    state: settings.get<string | null>("state") ?? null,
    hints: { enabled: settings.get<boolean>("hints.enabled") },
    lenses: { enabled: settings.get<boolean>("lenses.enabled") },
    lints: { enabled: settings.get<boolean>("lints.enabled") },
    compileOnSave: settings.get<boolean>("compileOnSave"),
    search: {
      evaluations: settings.get<number>("search.evaluations"),
      minutes: settings.get<number>("search.minutes"),
      author: settings.get<string>("search.author"),
    },
    trusted: vscode.workspace.isTrusted,
  };
}

/** What *Optimize* does; anything unknown asks. */
export function optimizeWith(): OptimizeWith {
  const value = vscode.workspace.getConfiguration(SECTION).get<string>("optimizeWith");
  return value === "search" || value === "chat" ? value : "ask";
}

/**
 * Whether what a kernel costs stands in lenses. Behind the line of a definition, which is long already, the costs for
 * two targets are out of sight, and the editor cuts them by default.
 */
export function costsInLenses(): boolean {
  const ours = vscode.workspace.getConfiguration(SECTION);
  const lenses = ours.get<boolean>("lenses.enabled") !== false &&
    vscode.workspace.getConfiguration("editor").get<boolean>("codeLens") !== false;
  return lenses && ours.get<string>("hints.place") !== "line";
}

/** Setting `kernelevolve.command`; null if unset. */
export function configuredCommand(): string | null {
  return vscode.workspace.getConfiguration(SECTION).get<string | null>("command") ?? null;
}

/** The state folder of the setting; null for the one of the command line. */
export function stateFolder(): string | null {
  return vscode.workspace.getConfiguration(SECTION).get<string | null>("state") ?? null;
}
