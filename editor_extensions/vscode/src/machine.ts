// The real machine for `findCommand`.

import { accessSync, constants, statSync } from "node:fs";
import { homedir } from "node:os";
import * as vscode from "vscode";
import { type Found, findCommand } from "./find_command";
import { selectedInterpreter } from "./python";
import { configuredCommand } from "./settings";

/** The executable of this machine. Throws `CommandNotFound`. */
export async function locateCommand(log: vscode.LogOutputChannel): Promise<Found> {
  const trusted = vscode.workspace.isTrusted;
  const configured = configuredCommand();
  return findCommand({
    configured,
    // Asking starts the Python extension, which is not needed where the setting decides.
    interpreter: configured === null && trusted ? await selectedInterpreter(log) : null,
    searchPath: process.env.PATH ?? "",
    folders: (vscode.workspace.workspaceFolders ?? []).map((folder) => folder.uri.fsPath),
    home: homedir(),
    windows: process.platform === "win32",
    trusted,
    isExecutable,
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // Not there, or not for this user: the caller says so.
  }
}
