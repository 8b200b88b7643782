// `kernelevolve lsp` as VS Code's own protocol library sees it. KERNELEVOLVE_COMMAND names the executable.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { HoverRequest, DocumentDiagnosticRequest } from "vscode-languageserver-protocol/node";
import { Client } from "./client.mjs";

const command = process.env.KERNELEVOLVE_COMMAND;
assert.ok(command, "KERNELEVOLVE_COMMAND names no executable");
const example = fileURLToPath(new URL("../../../../examples/rmsnorm_swiglu", import.meta.url));
const home = mkdtempSync(join(tmpdir(), "kernelevolve-vscode-"));
const folder = join(home, "project");
const client = new Client(command, join(home, "state"));
let capabilities;
let kernel;

before(async () => {
  cpSync(example, folder, { recursive: true });
  capabilities = await client.start(folder);
  kernel = await client.open(join(folder, "triton.py"), "python");
});

after(async () => {
  assert.equal(await client.end(), 0, client.errors);
  rmSync(home, { recursive: true });
});

test("the server says who it is and what it can do", () => {
  assert.equal(capabilities.serverInfo.name, "kernelevolve");
  const { executeCommandProvider, codeLensProvider, inlayHintProvider, hoverProvider } = capabilities.capabilities;
  assert.ok(codeLensProvider && inlayHintProvider && hoverProvider);
  for (const name of ["verify", "profile", "optimize", "stop", "applyBest", "addCase", "makeTask", "showKernel"]) {
    assert.ok(executeCommandProvider.commands.includes(`kernelevolve.${name}`), name);
  }
});

test("lenses stand over the kernel, their arguments name it", async () => {
  const lenses = await client.until(() => client.lenses(kernel.uri), (found) => found.length >= 3);
  assert.deepEqual(lenses.slice(0, 3).map((lens) => lens.command.title), ["Optimize", "Verify", "Profile"]);
  const line = kernel.text.split("\n").findIndex((text) => text.startsWith("def rmsnorm_swiglu_kernel"));
  assert.equal(lenses[0].range.start.line, line);
  assert.deepEqual(lenses[0].command.arguments, [{ uri: kernel.uri, kernel: "rmsnorm_swiglu_kernel" }]);
});

test("hints say what the kernel costs on both targets", async () => {
  const text = (hint) => (typeof hint.label === "string" ? hint.label : hint.label.map((part) => part.value).join(""));
  const hints = await client.until(
    () => client.hints(kernel.uri, 100), (found) => found.length >= 2 && found.every((hint) => /regs/.test(text(hint))),
  );
  const labels = hints.map(text);
  assert.ok(labels.some((label) => label.includes("sm_90")) && labels.some((label) => label.includes("gfx950")), labels.join());
});

test("hovers explain a word of Triton", async () => {
  const lines = kernel.text.split("\n");
  const line = lines.findIndex((text) => text.includes("tl.load"));
  const position = { line, character: lines[line].indexOf("load") + 1 };
  const hover = await client.connection.sendRequest(HoverRequest.type, { textDocument: { uri: kernel.uri }, position });
  assert.match(JSON.stringify(hover?.contents ?? null), /load/);
});

test("a kernel that compiles has no error", async () => {
  const report = await client.connection.sendRequest(DocumentDiagnosticRequest.type, { textDocument: { uri: kernel.uri } });
  assert.equal(report.kind, "full");
  assert.deepEqual(report.items.filter((item) => item.severity === 1), []);
});

test("status names the targets and the state folder", async () => {
  const status = await client.connection.sendRequest("kernelevolve/status", {});
  assert.equal(status.state, join(home, "state"));
  assert.deepEqual(status.targets.map((target) => target.name), ["cuda:sm_90", "hip:gfx950"]);
  assert.equal(status.trusted, true);
  assert.deepEqual(await client.connection.sendRequest("kernelevolve/searches", {}), { searches: [] });
});

test("a kernel is verified with progress, and the verdict has a receipt", async () => {
  client.progress.length = 0;
  const verdict = await client.command("kernelevolve.verify", { uri: kernel.uri, kernel: "rmsnorm_swiglu_kernel" });
  assert.equal(verdict.status, "correct", verdict.message);
  assert.match(verdict.receipt, /^[0-9a-f]{16,}$/);
  const kinds = client.progress.map((value) => value.kind);
  assert.deepEqual([kinds[0], kinds.at(-1)], ["begin", "end"]);
});

test("a command without its argument is refused with what is missing", async () => {
  await assert.rejects(client.command("kernelevolve.stop", {}), /search/);
  await assert.rejects(client.command("kernelevolve.stop", { search: "no-such-search" }), /no-such-search|No search/);
});
