// The tree of a search's page: fetched once, then only what is new.

import { Forest } from "./tree_model.js";
import { TreeView } from "./tree_view.js";

const ask = async (address) => {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  if (answer.status === 401) location.reload(); // To the login.
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.json();
};

class SearchTree {
  constructor(box) {
    this.address = box.dataset.tree;
    this.note = document.getElementById("tree-note");
    this.forest = new Forest();
    this.view = new TreeView(
      box, this.forest,
      (steps) => ask(`${this.address}/labels?steps=${steps.join(",")}`),
      (step) => { location.href = `${this.address}/nodes/${step}`; },
    );
  }

  async load() {
    this.forest.take(await ask(`${this.address}/tree`));
    this.view.refresh();
    if (this.forest.leader >= 0) this.view.goTo(this.forest.leader);
    this.say();
  }

  // Nodes that are new, and those that were judged again.
  async update(changed) {
    const known = this.forest.size;
    const again = [...changed].filter((step) => step < known).slice(0, 200);
    if (again.length) this.forest.take(await ask(`${this.address}/tree?steps=${again.join(",")}`));
    this.forest.take(await ask(`${this.address}/tree?after=${known - 1}`));
    this.view.refresh();
    this.say();
  }

  async find(words) {
    if (words) {
      const found = await ask(`${this.address}/find?q=${encodeURIComponent(words)}`);
      this.forest.matches = new Set(found.steps.filter((step) => step < this.forest.size));
      this.more = found.more;
    } else this.forest.matches = null;
    this.view.refresh();
    if (this.forest.matches?.size) this.view.choose(this.view.place.get(Math.min(...this.forest.matches)));
    this.say();
  }

  say() {
    const { matches, size } = this.forest;
    const count = matches === null ? "" : `${matches.size}${this.more ? " or more" : ""} of `;
    this.note.textContent = `${count}${size.toLocaleString("en")} candidates`;
  }
}

export const setUpTree = async () => {
  const box = document.getElementById("tree");
  if (!box) return null;
  const tree = new SearchTree(box);
  // For the mouse; with the keyboard the same candidates are in the tree. The curve is replaced as the search goes on.
  document.addEventListener("click", (event) => {
    const step = event.target.closest("#curve [data-step]")?.dataset.step;
    if (step !== undefined) tree.view.open(Number(step));
  });
  for (const button of document.querySelectorAll("[data-fold]")) {
    button.addEventListener("click", () => {
      if (button.dataset.fold !== "open") tree.forest.setAll(false);
      else tree.forest.setAll(true);
      if (button.dataset.fold === "best") tree.view.goTo(tree.forest.leader);
      else tree.view.refresh();
    });
  }
  const field = document.getElementById("tree-find");
  let timer;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => tree.find(field.value.trim()), 200);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") box.focus();
  });
  await tree.load();
  return tree;
};
