// What the language server of `kernelevolve lsp` understands beside the standard: requests, commands, their shapes.

/** How the server is named: section of the settings, prefix of its commands and requests. */
export const SECTION = "kernelevolve";

export const SEARCHES_REQUEST = "kernelevolve/searches";
export const SEARCH_REQUEST = "kernelevolve/search";
export const STATUS_REQUEST = "kernelevolve/status";
export const SEARCHES_CHANGED = "kernelevolve/searchesChanged";

/** One search of the state folder, whoever started it. */
export interface SearchSummary {
  readonly id: string;
  readonly task: string;
  readonly platform: string;
  readonly state: string;
  /** Candidates judged so far. */
  readonly evaluations: number;
  /** Candidates that may be judged. */
  readonly budget: number;
  /** How many times faster than the baseline the best one is; null without a correct one. */
  readonly best_speedup: number | null;
  /** The file that a found kernel belongs into. */
  readonly kernel_uri: string | null;
  readonly started: string | number | null;
}

/** One candidate of a search. */
export interface SearchNode {
  readonly id: string;
  readonly parents: readonly string[];
  readonly status: string;
  readonly speedup: number | null;
  readonly generation: number;
  readonly note: string | null;
}

/** A search with its candidates; `best` is the one that can be applied. */
export interface SearchDetail extends SearchSummary {
  readonly nodes: readonly SearchNode[];
  readonly best: { readonly node: string; readonly source: string; readonly receipt: unknown } | null;
  readonly report: string | null;
  readonly dashboard: string | null;
}

/** What a target can do on the server's machine. */
export interface Target {
  readonly name: string;
  readonly compiles: boolean;
  readonly reason?: string;
}

/** Answer of `kernelevolve/status`. */
export interface ServerStatus {
  readonly version: string;
  readonly state: string;
  readonly targets: readonly Target[];
  readonly triton: string | null;
  readonly compiling: number;
  readonly trusted: boolean;
}

/** Argument of the server's commands. */
export interface CommandArgument {
  readonly uri?: string;
  readonly kernel?: string;
  readonly function?: string;
  readonly search?: string;
}

/** Whether a search is still going on. */
export function isRunning(search: Pick<SearchSummary, "state">): boolean {
  return search.state === "running";
}

/** A task in a few letters: its folder or file, without what every path has. */
export function taskName(task: string): string {
  const parts = task.split(/[\\/]/).filter((part) => part !== "");
  const last = parts.at(-1) ?? task;
  return last === "task.py" ? (parts.at(-2) ?? last) : last.replace(/\.py$/, "");
}

/** A speed-up as people read it, e.g. `1.82x`. */
export function ratio(speedup: number): string {
  return `${speedup < 100 ? speedup.toFixed(2) : Math.round(speedup).toString()}x`;
}
