// A search's candidates as the columns that the tree is drawn from. Pure.

import type { Columns } from "dashboard/tree_model.js";
import type { SearchDetail } from "../src/protocol";

/** What the page is sent: everything but the source. */
export type ShownSearch = Omit<SearchDetail, "best"> & { readonly best: { readonly node: string } | null };

/** The columns. Candidates come in the order they were made; a parent that is not among them counts as none. */
export function columns(search: ShownSearch): Columns {
  const { nodes, best } = search;
  const place = new Map(nodes.map((node, index) => [node.id, index]));
  const kinds = [...new Set(nodes.map((node) => node.status))];
  return {
    first: 0,
    parents: nodes.map((node, index) => {
      const parent = place.get(node.parents[0] ?? "") ?? -1;
      return parent < index ? parent : -1;
    }),
    kinds,
    kind: nodes.map((node) => kinds.indexOf(node.status)),
    speedups: nodes.map((node) => node.speedup ?? 0),
    leader: best === null ? -1 : (place.get(best.node) ?? -1),
  };
}

/** What to call a candidate: the last part of its id. */
export function nodeName(id: string): string {
  return id.slice(id.lastIndexOf(".") + 1);
}
