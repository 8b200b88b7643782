// A stand-in for VS Code's API: as much as the tested modules use, with what was called kept for the tests to see.

export class EventEmitter<T> {
  private readonly listeners = new Set<(value: T) => void>();
  readonly event = (listener: (value: T) => void) => {
    this.listeners.add(listener);
    return { dispose: () => this.listeners.delete(listener) };
  };
  fire(value: T): void {
    for (const listener of this.listeners) listener(value);
  }
  dispose(): void {
    this.listeners.clear();
  }
}

export class Disposable {
  constructor(private readonly end: () => void) {}
  static from(...all: { dispose(): unknown }[]): Disposable {
    return new Disposable(() => { for (const one of all) one.dispose(); });
  }
  dispose(): void {
    this.end();
  }
}

export class CancellationError extends Error {}

export class TreeItem {
  constructor(readonly label: string) {}
}

export class ThemeIcon {
  constructor(readonly id: string) {}
}

export class McpStdioServerDefinition {
  constructor(
    readonly label: string, readonly command: string, readonly args: string[], readonly env: object,
    readonly version: string,
  ) {}
}

export const Uri = {
  parse: (text: string) => ({ fsPath: text.replace("file://", ""), toString: () => text }),
  from: ({ scheme, path }: { scheme: string; path: string }) => ({ scheme, path, toString: () => `${scheme}:${path}` }),
  file: (path: string) => ({ fsPath: path, toString: () => `file://${path}` }),
};

interface McpProvider {
  provideMcpServerDefinitions(): Promise<McpStdioServerDefinition[]>;
}

/** What the tests set and look at. */
export const desk = {
  settings: {} as Record<string, unknown>,
  trusted: true,
  /** Answers of `commands.executeCommand`, by command. */
  answers: {} as Record<string, unknown>,
  executed: [] as unknown[][],
  registered: new Map<string, (...given: unknown[]) => unknown>(),
  /** Messages shown, `level: text`. */
  shown: [] as string[],
  /** Index of the entry that a user picks; -1 for none. */
  pick: -1,
  editor: undefined as unknown,
  mcp: null as McpProvider | null,
  reset(): void {
    this.settings = {};
    this.trusted = true;
    this.answers = {};
    this.executed = [];
    this.registered.clear();
    this.shown = [];
    this.pick = -1;
    this.editor = undefined;
    this.mcp = null;
  },
};

export const workspace = {
  get isTrusted() { return desk.trusted; },
  getConfiguration: (section: string) => ({ get: (name: string) => desk.settings[`${section}.${name}`] }),
  asRelativePath: (uri: { fsPath: string }) => uri.fsPath.split("/").at(-1),
};

const show = (level: string) => (text: string) => {
  desk.shown.push(`${level}: ${text}`);
  return Promise.resolve(undefined);
};

export const window = {
  get activeTextEditor() { return desk.editor; },
  showErrorMessage: show("error"),
  showWarningMessage: show("warning"),
  showInformationMessage: show("information"),
  setStatusBarMessage: (text: string) => { desk.shown.push(`bar: ${text}`); },
  showQuickPick: (entries: unknown[]) => Promise.resolve(entries[desk.pick]),
};

export const commands = {
  registerCommand: (name: string, work: (...given: unknown[]) => unknown) => {
    desk.registered.set(name, work);
    return new Disposable(() => desk.registered.delete(name));
  },
  executeCommand: (...given: unknown[]) => {
    desk.executed.push(given);
    return Promise.resolve(desk.answers[String(given[0])]);
  },
  getCommands: () => Promise.resolve(Object.keys(desk.answers)),
};

export const lm = {
  registerMcpServerDefinitionProvider: (_id: string, provider: McpProvider) => {
    desk.mcp = provider;
    return new Disposable(() => { desk.mcp = null; });
  },
};
