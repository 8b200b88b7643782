// What is under the cursor. The server knows where kernels are; nothing here reads code.

import * as vscode from "vscode";
import type { CommandArgument } from "./protocol";

const OPTIMIZE = "kernelevolve.optimize";

/** The kernel under the cursor, else the one above it, else the only one of the file. Throws with what to do. */
export async function selectedKernel(): Promise<CommandArgument> {
  const editor = activeEditor();
  const lenses = await vscode.commands.executeCommand<vscode.CodeLens[] | undefined>(
    "vscode.executeCodeLensProvider", editor.document.uri,
  );
  const kernels = (lenses ?? []).filter((lens) => lens.command?.command === OPTIMIZE);
  const chosen = nearest(kernels.map((lens) => lens.range.start.line), editor.selection.active.line);
  const argument = kernels[chosen]?.command?.arguments?.[0] as CommandArgument | undefined;
  if (argument !== undefined) return argument;
  const enabled = vscode.workspace.getConfiguration("kernelevolve").get<boolean>("lenses.enabled");
  if (enabled === false) return { uri: editor.document.uri.toString() };
  throw new Error(
    "No kernel is known in this file. Open one with a Triton kernel, a C++ or CUDA candidate, or a task; " +
      "`Make a Task from Selected Function` makes a task from a PyTorch function.",
  );
}

/** The index of the last line that is not below the cursor, else of the first; -1 without any. */
export function nearest(lines: readonly number[], cursor: number): number {
  let chosen = -1;
  lines.forEach((line, index) => {
    if (line <= cursor && (chosen === -1 || line >= (lines[chosen] ?? 0))) chosen = index;
  });
  return chosen === -1 && lines.length > 0 ? lines.indexOf(Math.min(...lines)) : chosen;
}

/** The argument of a command that the server offers at the cursor. Throws if it offers none. */
export async function atCursor(command: string, none: string): Promise<CommandArgument> {
  const editor = activeEditor();
  const actions = await vscode.commands.executeCommand<vscode.CodeAction[] | undefined>(
    "vscode.executeCodeActionProvider", editor.document.uri, editor.selection,
  );
  const found = (actions ?? []).find((action) => action.command?.command === command);
  const argument = found?.command?.arguments?.[0] as CommandArgument | undefined;
  if (argument !== undefined) return argument;
  throw new Error(`There is ${none} at the cursor. Put it on the name of a function and try again.`);
}

function activeEditor(): vscode.TextEditor {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) throw new Error("No file is open. Open a file with a kernel first.");
  return editor;
}
