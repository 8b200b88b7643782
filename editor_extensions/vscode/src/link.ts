// The language server as the rest of the extension sees it, so that nothing else knows the client's library.

import type { Event } from "vscode";
import type { CommandArgument } from "./protocol";

/** Where the server stands. */
export type LinkState = "stopped" | "starting" | "running" | "failed";

/** A running language server, or one that may run later. */
export interface ServerLink {
  readonly state: LinkState;
  /** Why there is none; empty while there is one. */
  readonly trouble: string;
  readonly onStateChanged: Event<LinkState>;
  /** Ids of searches in which something moved. */
  readonly onSearchesChanged: Event<readonly string[]>;
  /** Ask the server. Rejects with its message, or says that it does not run. */
  request<Result>(method: string, parameters: object): Promise<Result>;
  /** Run one of the server's commands. Rejects with its message. */
  command<Result>(command: string, argument: CommandArgument): Promise<Result>;
}
