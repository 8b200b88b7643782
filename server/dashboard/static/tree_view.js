// The tree on the page: only the rows that can be seen are elements, so that 20,000 candidates are as quick as twenty.

import { DEEPEST } from "./tree_model.js";

const ROW = 28; // Pixels; the style sheet says the same.
const SPARE = 12; // Rows above and below what can be seen.

const WORDS = {
  compile_error: "compile error", runtime_error: "runtime error", rule_violation: "rule violation",
  reward_hack: "reward hack", harness_error: "harness error",
};

const ratio = (value) => (value > 0 ? `${value < 100 ? value.toFixed(2) : Math.round(value)}×` : "–");

// What is not seen, or makes a text read in another order than it runs: the same as in `search/page.py`.
const DECEIVING = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

export const visible = (text) => String(text).replace(
  DECEIVING, (sign) => `⟨U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
);

const element = (name, style, text) => {
  const made = document.createElement(name);
  if (style) made.className = style;
  if (text !== undefined) made.textContent = visible(text); // Never as HTML: texts come from candidates.
  return made;
};

export class TreeView {
  // `labels` gives, for steps, a promise of step → [what changed, who wrote it]; `open` is called with a step.
  constructor(box, forest, labels, open) {
    Object.assign(this, { box, forest, labels, open, rows: [], place: new Map(), known: new Map(), at: 0 });
    this.canvas = element("div", "tree-canvas");
    this.canvas.setAttribute("role", "presentation");
    box.replaceChildren(this.canvas);
    this.over = new AbortController();
    const { signal } = this.over;
    box.addEventListener("scroll", () => this.draw(), { passive: true, signal });
    box.addEventListener("keydown", (event) => this.key(event), { signal });
    box.addEventListener("click", (event) => this.click(event), { signal });
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(box);
  }

  // Let go of the box, for another view.
  leave() {
    clearTimeout(this.timer);
    this.over.abort();
    this.sized.disconnect();
  }

  // The forest has changed: lay the rows out anew and keep the place of the chosen one.
  refresh() {
    const step = this.chosen();
    this.rows = this.forest.rows();
    this.place = new Map(this.rows.map((row, index) => [row.step, index]));
    // Rows that are gone must not hold the page open below its end.
    this.canvas.replaceChildren();
    this.canvas.style.height = `${this.rows.length * ROW}px`;
    this.at = this.place.get(this.nearest(step)) ?? 0;
    this.draw();
  }

  // The step itself, or the nearest above it that has a row.
  nearest(step) {
    let at = step ?? this.forest.leader;
    while (at >= 0 && !this.place.has(at)) at = this.forest.parent[at] ?? -1;
    return at;
  }

  chosen() { return this.rows[this.at]?.step; }

  choose(index, scroll = true) {
    if (!this.rows.length) return;
    this.at = Math.max(0, Math.min(this.rows.length - 1, index));
    if (scroll) {
      const top = this.at * ROW;
      const { scrollTop, clientHeight } = this.box;
      if (top < scrollTop) this.box.scrollTop = top;
      else if (top + ROW > scrollTop + clientHeight) this.box.scrollTop = top + ROW - clientHeight;
    }
    this.draw();
  }

  goTo(step) {
    this.forest.openLineOf(step);
    this.refresh();
    const index = this.place.get(step);
    if (index === undefined) return;
    this.choose(index);
    this.box.scrollTop = Math.max(0, index * ROW - this.box.clientHeight / 2);
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + SPARE);
    this.canvas.replaceChildren(...this.rows.slice(first, last).map((row, index) => this.line(row, first + index)));
    // What is scrolled out of sight is no element that could be named.
    if (first <= this.at && this.at < last) this.box.setAttribute("aria-activedescendant", this.idOf(this.at));
    else this.box.removeAttribute("aria-activedescendant");
    this.write(first, last);
  }

  idOf(index) { return `${this.box.id}-row-${this.rows[index].step}`; }

  line(row, index) {
    const { forest } = this;
    const line = element("div", `row ${forest.kind[row.step]}${index === this.at ? " chosen" : ""}`);
    line.id = this.idOf(index);
    line.dataset.index = index;
    line.style.top = `${index * ROW}px`;
    line.setAttribute("role", "treeitem");
    line.setAttribute("aria-level", row.level);
    line.setAttribute("aria-posinset", row.place[0]);
    line.setAttribute("aria-setsize", row.place[1]);
    line.setAttribute("aria-selected", index === this.at);
    if (row.branches) line.setAttribute("aria-expanded", row.open);
    if (forest.matches?.has(row.step)) line.classList.add("match");
    const guides = element("span", "guides");
    guides.style.setProperty("--columns", Math.min(row.column, DEEPEST));
    const fold = element("span", "fold", row.branches ? (row.open ? "▾" : "▸") : "");
    fold.setAttribute("aria-hidden", "true");
    const dot = element("span", `dot-mark${row.chain ? " chain" : ""}`);
    const speedup = forest.speedup[row.step];
    const kind = forest.kind[row.step];
    line.append(
      guides, fold, dot,
      element("b", "gain", speedup > 0 ? ratio(speedup) : WORDS[kind] ?? kind),
      element("span", "step", `#${forest.nameOf(row.step)}`),
    );
    if (row.step === forest.leader) line.append(element("span", "badge", "best"));
    if (row.column > DEEPEST) line.append(element("span", "soft", `${row.column} deep`));
    const known = this.known.get(row.step);
    const label = element("span", "label", known ? known[0] : "");
    if (known) label.title = visible(known[1] ? `${known[0]}\nby ${known[1]}` : known[0]);
    line.append(label);
    if (row.branches && !row.open) {
      line.append(element("span", "folded", `+${row.below.toLocaleString("en")}, best ${ratio(row.best)}`));
    }
    return line;
  }

  // Ask for the labels of the rows in sight; a fast scroll asks once, for where it ends.
  write(first, last) {
    const missing = this.rows.slice(first, last).map((row) => row.step).filter((step) => !this.known.has(step));
    clearTimeout(this.timer);
    if (!missing.length) return;
    this.timer = setTimeout(async () => {
      const found = await this.labels(missing.slice(0, 200));
      for (const [step, label] of Object.entries(found)) this.known.set(Number(step), label);
      for (const step of missing) if (!this.known.has(step)) this.known.set(step, ["", ""]);
      this.draw();
    }, 40);
  }

  fold(index, open) {
    const row = this.rows[index];
    if (!row?.branches || this.forest.matches !== null) return;
    this.forest.open[row.step] = open ?? !row.open;
    this.refresh();
  }

  click(event) {
    const line = event.target.closest(".row");
    if (!line) return;
    const index = Number(line.dataset.index);
    this.choose(index, false);
    if (event.target.closest(".fold")) this.fold(index);
    else if (!event.target.closest(".guides")) this.open(this.chosen());
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = this.rows[this.at];
    if (!row) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW) - 1);
    const moves = {
      j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: page, PageUp: -page,
      Home: -this.rows.length, End: this.rows.length,
    };
    if (event.key in moves) this.choose(this.at + moves[event.key]);
    else if (event.key === "Enter") this.open(row.step);
    else if (event.key === "ArrowRight") {
      if (row.branches && !row.open) this.fold(this.at, true);
      else if (row.open) this.choose(this.at + 1);
    } else if (event.key === "ArrowLeft") {
      const parent = this.place.get(this.forest.parent[row.step]);
      if (row.open && this.forest.matches === null) this.fold(this.at, false);
      else if (parent !== undefined) this.choose(parent);
    } else if (event.key === "b" && this.forest.leader >= 0) this.goTo(this.forest.leader);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
