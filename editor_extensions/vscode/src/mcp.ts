// The MCP server, for the chat of this editor: found like the language server, on the same state folder.

import * as vscode from "vscode";
import type { Found } from "./find_command";
import { stateFolder } from "./settings";

const PROVIDER = "kernelevolve.mcp";
const LABEL = "KernelEvolve";

/** How the MCP server is started. */
export interface McpServer {
  readonly command: string;
  readonly args: string[];
  readonly env: Record<string, string>;
}

/** The server of an executable; `state` is null for the folder of the command line. */
export function mcpServer(command: string, state: string | null): McpServer {
  return { command, args: ["serve"], env: state === null ? {} : { KERNELEVOLVE_STATE: state } };
}

/** What Cursor has in place of VS Code's interface. */
interface CursorApi {
  readonly mcp?: {
    registerServer(server: { name: string; server: McpServer }): void;
    unregisterServer(name: string): void;
  };
}

/** Make the MCP server known to the editor's chat, whichever interface the editor has. */
export function provideMcpServer(
  locate: () => Promise<Found>, version: string, log: vscode.LogOutputChannel, changed: vscode.Event<unknown>,
): vscode.Disposable {
  const cursor = (vscode as unknown as { cursor?: CursorApi }).cursor?.mcp;
  if (cursor !== undefined) return inCursor(cursor, locate, log, changed);
  // Editors of before 1.101, and some that are built on VS Code, lack it.
  const register = (vscode.lm as Partial<typeof vscode.lm> | undefined)?.registerMcpServerDefinitionProvider;
  if (register === undefined) {
    log.info("This editor takes no MCP servers from extensions: `kernelevolve install` writes its configuration.");
    return new vscode.Disposable(() => undefined);
  }
  const again = new vscode.EventEmitter<void>();
  const following = changed(() => { again.fire(); });
  const provider = vscode.lm.registerMcpServerDefinitionProvider(PROVIDER, {
    onDidChangeMcpServerDefinitions: again.event,
    provideMcpServerDefinitions: async () => {
      const server = await describe(locate, log);
      return server === null
        ? []
        : [new vscode.McpStdioServerDefinition(LABEL, server.command, server.args, server.env, version)];
    },
  });
  return vscode.Disposable.from(provider, following, again);
}

/** None in a workspace that is not trusted: its tools judge what lies there. */
async function describe(locate: () => Promise<Found>, log: vscode.LogOutputChannel): Promise<McpServer | null> {
  if (!vscode.workspace.isTrusted) return null;
  try {
    return mcpServer((await locate()).command, stateFolder());
  } catch (error) {
    log.warn(`No MCP server: ${String(error)}`); // The language server's status tells the user.
    return null;
  }
}

function inCursor(
  cursor: NonNullable<CursorApi["mcp"]>, locate: () => Promise<Found>, log: vscode.LogOutputChannel,
  changed: vscode.Event<unknown>,
): vscode.Disposable {
  let known = false;
  const forget = () => {
    if (known) cursor.unregisterServer(LABEL);
    known = false;
  };
  const update = async () => {
    const server = await describe(locate, log);
    forget();
    if (server === null) return;
    cursor.registerServer({ name: LABEL, server });
    known = true;
  };
  void update();
  const following = changed(() => void update());
  return new vscode.Disposable(() => {
    following.dispose();
    forget();
  });
}
