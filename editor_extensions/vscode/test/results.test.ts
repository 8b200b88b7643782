import assert from "node:assert/strict";
import { test } from "node:test";
import { resultOf } from "../src/results";

test("a verdict is good news or a warning, in the server's words", () => {
  const right = resultOf("kernelevolve.verify", {}, { status: "correct", message: "1.82x", speedup: 1.82 });
  assert.deepEqual(right, { kind: "message", good: true, text: "1.82x", next: [] });
  const wrong = resultOf("kernelevolve.verify", {}, { status: "wrong_result", message: "off by 3" });
  assert.deepEqual(wrong, { kind: "message", good: false, text: "off by 3", next: [] });
});

test("a search that began can be opened", () => {
  const shown = resultOf("kernelevolve.optimize", {}, { search: "s1" });
  assert.ok(shown.kind === "message" && shown.good);
  assert.deepEqual(shown.next, [{ title: "Open Search", kind: "openSearch", search: "s1" }]);
});

test("a profile is a page with its bottlenecks and its report", () => {
  const answer = { summary: "Memory bound.", bottlenecks: ["spills", { kind: "bank_conflicts", share: 0.21, summary: "8-way conflicts.", advice: "Pad the tile." }], report: "/r.html" };
  const shown = resultOf("kernelevolve.profile", { kernel: "norm" }, answer);
  assert.ok(shown.kind === "page");
  assert.equal(shown.title, "Profile of norm");
  assert.match(shown.markdown, /Memory bound\.[^]*- spills\n- \*\*8-way conflicts\*\* \(up to 21 % of the time\)\. Pad the tile\.\n/);
  assert.deepEqual(shown.next, [{ title: "Open Report", kind: "openFile", path: "/r.html" }]);
  const nothing = resultOf("kernelevolve.profile", {}, { summary: "Fine.", bottlenecks: [] });
  assert.ok(nothing.kind === "page" && nothing.markdown.includes("No bottleneck was found."));
});

test("an applied kernel says its speed-up, one that was not says what to do", () => {
  const done = resultOf("kernelevolve.applyBest", {}, { applied: true, speedup: 2.5 });
  assert.ok(done.kind === "message" && done.good && done.text.includes("2.50x"));
  const not = resultOf("kernelevolve.applyBest", {}, { applied: false });
  assert.ok(not.kind === "message" && !not.good && not.text.includes("Try again"));
});

for (const command of ["verify", "profile", "optimize", "stop", "applyBest", "showKernel"]) {
  for (const answer of [null, [], "text", {}, { search: 3, status: true, applied: "yes" }]) {
    test(`an answer that is not understood is said: ${command} ${JSON.stringify(answer)}`, () => {
      const shown = resultOf(`kernelevolve.${command}`, {}, answer);
      assert.ok(shown.kind === "message" && !shown.good);
      assert.match(shown.text, /not understood/);
    });
  }
}

test("commands whose edit is the answer show nothing", () => {
  assert.deepEqual(resultOf("kernelevolve.addCase", {}, null), { kind: "nothing" });
  assert.deepEqual(resultOf("kernelevolve.makeTask", {}, {}), { kind: "nothing" });
});
