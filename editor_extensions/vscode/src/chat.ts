// Hands a job to the editor's chat, which has the tools of the MCP server.

import * as vscode from "vscode";
import type { CommandArgument } from "./protocol";

const OPEN_CHAT = "workbench.action.chat.open";

/** What the chat is asked. */
export function request(path: string, kernel: string | undefined): string {
  const what = kernel === undefined ? `the kernel in ${path}` : `the kernel ${kernel} in ${path}`;
  return (
    `Make ${what} faster with the KernelEvolve tools: find its task, start a search with the present kernel, ` +
    "write what each order asks for, hand it in, and read the verdict. " +
    "When the budget is spent, put the best confirmed kernel into the file and say its speed-up and receipt."
  );
}

/** Open the chat with the job. Throws if this editor has no chat. */
export async function handOver(argument: CommandArgument): Promise<void> {
  const commands = await vscode.commands.getCommands(true);
  if (!commands.includes(OPEN_CHAT)) {
    throw new Error(
      "This editor has no chat. Set `kernelevolve.optimizeWith` to `search`, or ask an assistant that has the MCP server.",
    );
  }
  const path = argument.uri === undefined ? "this file" : vscode.workspace.asRelativePath(vscode.Uri.parse(argument.uri));
  await vscode.commands.executeCommand(OPEN_CHAT, { query: request(path, argument.kernel), mode: "agent" });
}
