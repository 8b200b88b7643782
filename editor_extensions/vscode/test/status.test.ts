import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServerStatus } from "../src/protocol";
import { statusPage, targetSummary } from "../src/status";

const status: ServerStatus = {
  version: "1.2.3", state: "/state", triton: null, compiling: 0, trusted: false,
  targets: [{ name: "cuda:sm_90", compiles: true }, { name: "hip:gfx950", compiles: false, reason: "no lld" }],
};

test("the page says everything that explains a missing hint", () => {
  const page = statusPage(status, "/bin/kernelevolve", "PATH");
  for (const words of ["1.2.3", "/bin/kernelevolve", "/state", "not installed", "not trusted", "does not compile: no lld"]) {
    assert.ok(page.includes(words), words);
  }
});

test("one line says which target is missing", () => {
  assert.deepEqual(targetSummary(status.targets), { text: "cannot compile for hip:gfx950", good: false });
  assert.deepEqual(targetSummary(status.targets.slice(0, 1)), { text: "cuda:sm_90", good: true });
  assert.equal(targetSummary([]).good, false);
});
