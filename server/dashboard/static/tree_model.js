// The tree of a search without any picture: who descends from whom, what is folded, which rows there are.

export const DEEPEST = 24; // Columns of indentation; deeper rows say how deep they are.
const UNFOLDED_AT_FIRST = 80;

export class Forest {
  constructor() {
    this.parent = [];
    this.kind = [];
    this.speedup = [];
    this.children = [];
    this.open = [];
    this.leader = -1;
    this.matches = null; // Set of steps that a filter lets through; null without one.
    this.roots = [];
    this.names = null; // What to call the nodes, where their places here are not their steps.
  }

  nameOf(step) { return this.names === null ? step : this.names[step]; }

  get size() { return this.parent.length; }

  // Take columns as the server sends them: all nodes from `first` on, or those whose steps are named.
  take(columns) {
    const small = this.size === 0 && columns.parents.length <= UNFOLDED_AT_FIRST;
    columns.parents.forEach((parent, index) => {
      const step = columns.steps ? columns.steps[index] : columns.first + index;
      if (step > this.size) return; // What lies between has not come yet; it will, with this one.
      const fresh = step === this.size;
      this.kind[step] = columns.kinds[columns.kind[index]];
      this.speedup[step] = columns.speedups[index];
      if (!fresh) return;
      this.parent[step] = parent;
      this.children[step] = [];
      this.open[step] = small;
      (parent < 0 ? this.roots : this.children[parent]).push(step);
    });
    const moved = columns.leader !== this.leader;
    this.leader = columns.leader;
    if (moved) this.openLineOf(this.leader);
  }

  openLineOf(step) {
    for (let at = this.parent[step] ?? -1; at >= 0; at = this.parent[at]) this.open[at] = true;
  }

  setAll(open) { this.open.fill(open); }

  // Steps that are shown because a filter lets them or something below them through.
  shown() {
    if (this.matches === null) return null;
    const shown = new Set();
    for (const step of this.matches) {
      for (let at = step; at >= 0 && !shown.has(at); at = this.parent[at]) shown.add(at);
    }
    return shown;
  }

  // For each node how many descend from it, and the best of them and itself. Parents come before their children.
  sums() {
    const below = new Int32Array(this.size);
    const best = Float64Array.from(this.speedup);
    for (let step = this.size - 1; step >= 0; step -= 1) {
      const parent = this.parent[step];
      if (parent < 0) continue;
      below[parent] += below[step] + 1;
      best[parent] = Math.max(best[parent], best[step]);
    }
    return { below, best };
  }

  // The rows from the top to the bottom. A node that goes on its parent's line without a branch is not indented:
  // a search that improves one candidate a thousand times must not run out of the page.
  rows() {
    const shown = this.shown();
    const lets = (steps) => (shown === null ? steps : steps.filter((step) => shown.has(step)));
    const { below, best } = this.sums();
    const rows = [];
    const stack = lets(this.roots).map((step) => ({ step, column: 0, level: 1, chain: false })).reverse();
    const firsts = lets(this.roots);
    firsts.forEach((step, index) => { stack[firsts.length - 1 - index].place = [index + 1, firsts.length]; });
    while (stack.length) {
      const row = stack.pop();
      const children = lets(this.children[row.step]);
      const open = children.length > 0 && (shown !== null || this.open[row.step]);
      rows.push({ ...row, below: below[row.step], best: best[row.step], branches: children.length > 0, open });
      if (!open) continue;
      const chain = children.length === 1;
      for (let index = children.length - 1; index >= 0; index -= 1) {
        stack.push({
          step: children[index],
          column: chain ? row.column : row.column + 1,
          level: row.level + 1,
          chain,
          place: [index + 1, children.length],
        });
      }
    }
    return rows;
  }
}
