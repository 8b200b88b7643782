import assert from "node:assert/strict";
import { test } from "node:test";
import type { LinkState, ServerLink } from "../src/link";
import { ratio, type SearchSummary, taskName } from "../src/protocol";
import { row, SearchesView } from "../src/searches";
import { EventEmitter } from "./vscode";

const search = (given: Partial<SearchSummary> = {}): SearchSummary => ({
  id: "s1", task: "/work/rmsnorm/task.py", platform: "cpu", state: "running", evaluations: 3, budget: 40,
  best_speedup: 1.5, kernel_uri: "file:///work/rmsnorm/kernel.cpp", started: "2026-11-28T12:00:00Z", ...given,
});

test("a row says what it is about, how far it is, and what can be done with it", () => {
  const running = row(search());
  assert.equal(running.label, "rmsnorm");
  assert.equal(running.description, "1.50x · 3/40 · cpu");
  assert.equal(running.context, "search running applicable");
  assert.match(running.icon, /spin/);
});

test("without a correct kernel or a file nothing can be applied", () => {
  const none = row(search({ state: "finished", best_speedup: null }));
  assert.equal(none.context, "search");
  assert.match(none.description, /nothing correct yet/);
  assert.equal(row(search({ state: "finished", kernel_uri: null })).context, "search");
});

test("tasks are named by their folder or file", () => {
  assert.equal(taskName("/a/b/task.py"), "b");
  assert.equal(taskName("C:\\a\\softmax.py"), "softmax");
  assert.equal(taskName("aten::softmax"), "aten::softmax");
  assert.equal(taskName("task.py"), "task.py");
});

test("speed-ups have as many digits as matter", () => {
  assert.equal(ratio(1.234), "1.23x");
  assert.equal(ratio(150.4), "150x");
});

class FakeLink implements ServerLink {
  state: LinkState = "running";
  trouble = "";
  searches: SearchSummary[] = [];
  readonly states = new EventEmitter<LinkState>();
  readonly moves = new EventEmitter<readonly string[]>();
  readonly onStateChanged = this.states.event as unknown as ServerLink["onStateChanged"];
  readonly onSearchesChanged = this.moves.event as unknown as ServerLink["onSearchesChanged"];
  request<Result>(method: string): Promise<Result> {
    assert.equal(method, "kernelevolve/searches");
    return Promise.resolve({ searches: this.searches } as Result);
  }
  command<Result>(): Promise<Result> {
    return Promise.reject(new Error("no command is expected"));
  }
}

test("those that run come first, each part in the server's order, and are counted", async () => {
  const link = new FakeLink();
  link.searches = [
    search({ id: "new", state: "finished" }), search({ id: "going" }), search({ id: "old", state: "finished" }),
    search({ id: "going too" }),
  ];
  const view = new SearchesView(link);
  const counts: number[] = [];
  view.onCount = (count) => counts.push(count);
  assert.deepEqual((await view.getChildren()).map(({ id }) => id), ["going", "going too", "new", "old"]);
  assert.deepEqual(counts, [2]);
  link.state = "failed";
  assert.deepEqual(await view.getChildren(), []);
  assert.deepEqual(counts, [2, 0]);
});

test("the list is fetched anew when a search moves or the server comes up", () => {
  const link = new FakeLink();
  const view = new SearchesView(link);
  let asked = 0;
  view.onDidChangeTreeData(() => { asked += 1; });
  link.moves.fire(["s1"]);
  link.states.fire("running");
  assert.equal(asked, 2);
});
