// The dashboard's modules, as far as this page uses them.

declare module "dashboard/tree_model.js" {
  export interface Columns {
    first: number;
    /** Places of parents; -1 without one. */
    parents: number[];
    kinds: string[];
    /** Index into `kinds`. */
    kind: number[];
    /** 0 where there is none. */
    speedups: number[];
    leader: number;
  }

  export class Forest {
    leader: number;
    readonly kind: readonly string[];
    readonly speedup: readonly number[];
    names: (number | string)[] | null;
    readonly size: number;
    take(columns: Columns): void;
    setAll(open: boolean): void;
    rows(): { step: number; level: number }[];
  }
}

declare module "dashboard/tree_view.js" {
  import type { Forest } from "dashboard/tree_model.js";

  type Labels = Record<number, [what: string, who: string]>;

  export function visible(text: unknown): string;
  export class TreeView {
    constructor(
      box: HTMLElement, forest: Forest, labels: (steps: number[]) => Promise<Labels>, open: (step: number) => void,
    );
    refresh(): void;
    goTo(step: number): void;
    chosen(): number | undefined;
    leave(): void;
  }
}
