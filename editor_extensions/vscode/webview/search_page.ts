// The page of a search: the dashboard's tree, and the buttons that the extension answers to.

import { Forest } from "dashboard/tree_model.js";
import { TreeView, visible } from "dashboard/tree_view.js";
import { isRunning, ratio, taskName } from "../src/protocol";
import { columns, nodeName, type ShownSearch } from "./columns";

declare function acquireVsCodeApi(): { postMessage(message: unknown): void };

const api = acquireVsCodeApi();

function part(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`The page has no ${id}.`);
  return found;
}

let forest = new Forest();
let view: TreeView | null = null;
let shown: ShownSearch | null = null;

function draw(search: ShownSearch): void {
  const before = view?.chosen();
  const first = shown === null;
  const added = search.nodes.length - forest.size;
  shown = search;
  head(search);
  if (first || added < 0) {
    forest = new Forest();
    view?.leave();
    view = new TreeView(part("tree"), forest, labels, (step) => { open(step); });
  }
  forest.names = search.nodes.map((node) => nodeName(node.id));
  forest.take(columns(search));
  view?.refresh();
  if ((first || before === undefined) && forest.leader >= 0) view?.goTo(forest.leader);
}

function head(search: ShownSearch): void {
  const best = search.best_speedup === null ? "nothing correct yet" : `best ${ratio(search.best_speedup)}`;
  part("title").textContent = visible(taskName(search.task));
  part("summary").textContent = visible(
    `${search.platform} · ${search.state.replaceAll("_", " ")} · ${search.evaluations} of ${search.budget} candidates · ${best}`,
  );
  part("apply").hidden = search.best === null || search.kernel_uri === null;
  part("compare").hidden = search.best === null;
  part("openReport").hidden = search.report === null && search.dashboard === null;
  part("stop").hidden = !isRunning(search);
}

async function labels(steps: number[]): Promise<Record<number, [string, string]>> {
  const nodes = shown?.nodes ?? [];
  return await Promise.resolve(
    Object.fromEntries(steps.map((step) => [step, [nodes[step]?.note ?? "starting point", ""] as [string, string]])),
  );
}

function open(step: number): void {
  const node = shown?.nodes[step];
  if (node === undefined) return;
  part("node").hidden = false;
  part("node-title").textContent = visible(`#${nodeName(node.id)} ${node.note ?? "starting point"}`);
  const facts: [string, string][] = [
    ["Verdict", node.status.replaceAll("_", " ")],
    ["Speed-up", node.speedup === null ? "–" : ratio(node.speedup)],
    ["Generation", node.generation.toString()],
    ["Comes from", node.parents.length === 0 ? "–" : node.parents.map((parent) => `#${nodeName(parent)}`).join(", ")],
  ];
  part("node-facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function element(name: string, text: string): HTMLElement {
  const made = document.createElement(name);
  made.textContent = visible(text); // Never as HTML: texts come from candidates.
  return made;
}

for (const kind of ["apply", "compare", "openReport", "stop"]) {
  part(kind).addEventListener("click", () => { api.postMessage({ kind }); });
}
part("best").addEventListener("click", () => view?.goTo(forest.leader));
for (const [id, all] of [["unfold", true], ["fold", false]] as const) {
  part(id).addEventListener("click", () => {
    forest.setAll(all);
    view?.refresh();
  });
}

// The editor's theme is a class of the body, and changes while the page is shown.
const dress = () => {
  const light = document.body.classList.contains("vscode-light") ||
    document.body.classList.contains("vscode-high-contrast-light");
  document.documentElement.dataset.theme = light ? "light" : "dark";
};
dress();
new MutationObserver(dress).observe(document.body, { attributes: true, attributeFilter: ["class"] });

addEventListener("message", ({ data }: MessageEvent<{ kind?: string; search?: ShownSearch } | undefined>) => {
  if (data?.kind === "search" && data.search !== undefined) draw(data.search);
});
api.postMessage({ kind: "ready" });
