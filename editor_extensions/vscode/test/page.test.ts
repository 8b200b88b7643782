import assert from "node:assert/strict";
import { test } from "node:test";
import { Forest } from "dashboard/tree_model.js";
import type { SearchNode } from "../src/protocol";
import { actionOf, pageHtml } from "../src/search_html";
import { columns, nodeName, type ShownSearch } from "../webview/columns";

const frame = { nonce: "abc123", source: "https://cdn.example", script: "https://x/p.js", style: "https://x/p.css" };

test("the page may load its style and its one script and nothing else", () => {
  const page = pageHtml(frame);
  const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page)?.[1];
  assert.equal(policy, "default-src 'none'; style-src https://cdn.example; script-src 'nonce-abc123'");
  assert.equal(page.match(/<script/g)?.length, 1);
  assert.match(page, /<script nonce="abc123" src="https:\/\/x\/p\.js">/);
  assert.doesNotMatch(page, /<style|style=| on[a-z]+=|javascript:/);
});

test("the page's messages are the actions and nothing else", () => {
  assert.equal(actionOf({ kind: "apply" }), "apply");
  for (const wrong of [null, "apply", 3, {}, { kind: "constructor" }, { kind: "eval" }, { kind: ["apply"] }]) {
    assert.throws(() => actionOf(wrong), /unknown/);
  }
});

const node = (id: string, parents: string[], given: Partial<SearchNode> = {}): SearchNode => ({
  id, parents, status: "correct", speedup: 1, generation: parents.length, note: null, ...given,
});

const search = (nodes: SearchNode[], best: string | null): ShownSearch => ({
  id: "s", task: "t", platform: "cpu", state: "running", evaluations: nodes.length, budget: 9, best_speedup: 1,
  kernel_uri: null, started: null, report: null, dashboard: null, nodes, best: best === null ? null : { node: best },
});

test("candidates become the columns that the dashboard's tree takes", () => {
  const given = search(
    [node("s.0", []), node("s.1", ["s.0"], { status: "compile_error", speedup: null }), node("s.2", ["s.0"], { speedup: 2 })],
    "s.2",
  );
  const forest = new Forest();
  forest.take(columns(given));
  assert.deepEqual(forest.rows().map((row) => [row.step, row.level]), [[0, 1], [1, 2], [2, 2]]);
  assert.equal(forest.kind[1], "compile_error");
  assert.deepEqual(forest.speedup, [1, 0, 2]);
  assert.equal(forest.leader, 2);
});

test("a parent that is missing or comes later counts as none", () => {
  const made = columns(search([node("s.0", ["gone"]), node("s.1", ["s.2"]), node("s.2", [])], null));
  assert.deepEqual(made.parents, [-1, -1, -1]);
  assert.equal(made.leader, -1);
});

test("candidates are called by their step", () => {
  assert.equal(nodeName("20261128-abc.17"), "17");
  assert.equal(nodeName("17"), "17");
});
