// The language client: finds the server, starts it, restarts it, and hands its commands to those that show results.

import * as vscode from "vscode";
import {
  type ClientCapabilities, type FeatureState, LanguageClient, RevealOutputChannelOn,
  State, type StaticFeature,
} from "vscode-languageclient/node";
import type { Found } from "./find_command";
import type { LinkState, ServerLink } from "./link";
import { type CommandArgument, SEARCHES_CHANGED, SECTION } from "./protocol";
import { costsInLenses, serverSettings } from "./settings";

/** Runs a command of the server that the user clicked on; `next` is the server's part. */
export type OnCommand = (command: string, argument: CommandArgument, next: () => Promise<unknown>) => Promise<unknown>;

const LANGUAGES = ["python", "cpp", "cuda-cpp"];

/** What this client can do beside the library's part: it wants to know when a search moves, and where costs stand. */
class OwnCapabilities implements StaticFeature {
  constructor(private readonly inLenses: boolean) {}

  fillClientCapabilities(capabilities: ClientCapabilities): void {
    // The server gives costs as lenses to editors without inlay hints.
    if (this.inLenses) delete capabilities.textDocument?.inlayHint;
    const known = (capabilities.experimental ?? {}) as Record<string, unknown>;
    capabilities.experimental = { ...known, kernelevolve: { searches: true } };
  }

  initialize(): void {
    // Nothing depends on what the server can do.
  }

  getState(): FeatureState {
    return { kind: "static" };
  }

  clear(): void {
    // Nothing is kept.
  }
}

export class ServerConnection implements ServerLink, vscode.Disposable {
  state: LinkState = "stopped";
  trouble = "";
  /** Where the executable was found; null before it was. */
  found: Found | null = null;
  private readonly stateChanged = new vscode.EventEmitter<LinkState>();
  private readonly searchesChanged = new vscode.EventEmitter<readonly string[]>();
  readonly onStateChanged = this.stateChanged.event;
  readonly onSearchesChanged = this.searchesChanged.event;
  private client: LanguageClient | null = null;
  /** Starts and stops, one after another. */
  private queue: Promise<void> = Promise.resolve();

  constructor(
    private readonly log: vscode.LogOutputChannel,
    /** Where the server runs: a folder without Python files. */
    private readonly folder: string,
    private readonly locate: () => Promise<Found>,
    private readonly onCommand: OnCommand,
  ) {}

  /** Start the server, in place of one that runs. Never rejects: what went wrong is in `trouble`. */
  restart(): Promise<void> {
    this.queue = this.queue.then(async () => {
      await this.end();
      await this.begin();
    });
    return this.queue;
  }

  /** Stop the server. */
  stop(): Promise<void> {
    this.queue = this.queue.then(() => this.end());
    return this.queue;
  }

  async request<Result>(method: string, parameters: object): Promise<Result> {
    return await this.running().sendRequest<Result>(method, parameters);
  }

  async command<Result>(command: string, argument: CommandArgument): Promise<Result> {
    return await this.request<Result>("workspace/executeCommand", { command, arguments: [argument] });
  }

  dispose(): void {
    void this.stop();
    this.stateChanged.dispose();
    this.searchesChanged.dispose();
  }

  private running(): LanguageClient {
    if (this.client === null || this.state !== "running") {
      throw new Error(this.trouble === "" ? "The language server of KernelEvolve is not running yet." : this.trouble);
    }
    return this.client;
  }

  private async begin(): Promise<void> {
    this.set("starting");
    try {
      this.found = await this.locate();
      this.log.info(`Using ${this.found.command} (from the ${this.found.source}).`);
      this.client = this.build(this.found.command);
      await this.client.start();
      this.set("running");
    } catch (error) {
      const failed = this.client;
      this.client = null;
      // One that never came up cannot be stopped, which is an error of the library only.
      await failed?.dispose().catch((reason: unknown) => { this.log.debug(`stop: ${String(reason)}`); });
      const message = error instanceof Error ? error.message : String(error);
      this.log.error(message);
      this.set("failed", message);
    }
  }

  private build(command: string): LanguageClient {
    const inLenses = costsInLenses();
    const client = new LanguageClient(
      SECTION,
      "KernelEvolve",
      // Not in the workspace: Python would take modules from there, such as a kernel that is called triton.py.
      { command, args: ["lsp"], options: { cwd: this.folder } },
      {
        documentSelector: LANGUAGES.map((language) => ({ scheme: "file", language })),
        outputChannel: this.log,
        revealOutputChannelOn: RevealOutputChannelOn.Never,
        initializationOptions: serverSettings(),
        progressOnInitialization: true,
        middleware: {
          // Not by the library's way, which tells the user of an error in words of its own.
          executeCommand: (name: string, given: unknown[]) => {
            const argument = (given[0] ?? {}) as CommandArgument;
            return this.onCommand(name, argument, () => this.command(name, argument));
          },
          ...(inLenses ? { provideInlayHints: () => [] } : {}),
          workspace: {
            // The server's own settings and the trust of the workspace, not all that the section holds.
            configuration: (parameters) =>
              parameters.items.map((item) => (item.section === SECTION ? serverSettings() : null)),
          },
        },
      },
    );
    client.registerFeature(new OwnCapabilities(inLenses));
    client.onNotification(SEARCHES_CHANGED, (told: { searches: string[] }) => {
      this.searchesChanged.fire(told.searches);
    });
    client.onDidChangeState(({ newState }) => {
      if (this.client !== client) return;
      if (newState === State.Stopped && this.state === "running") {
        this.set("failed", "The language server of KernelEvolve ended. The log says why; restart it with the command.");
      } else if (newState === State.Running && this.state === "failed") this.set("running");
    });
    return client;
  }

  private async end(): Promise<void> {
    const client = this.client;
    this.client = null;
    if (client !== null) {
      // A server that does not end in time is killed by the library; either way it is gone.
      await client.dispose(5000).catch((error: unknown) => { this.log.warn(`stop: ${String(error)}`); });
    }
    this.set("stopped");
  }

  private set(state: LinkState, trouble = ""): void {
    this.trouble = trouble;
    this.state = state;
    void vscode.commands.executeCommand("setContext", "kernelevolve.ready", state === "running");
    this.stateChanged.fire(state);
  }
}
