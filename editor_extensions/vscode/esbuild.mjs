// Bundles the extension and its page; with --tests also the tests, against a stand-in for VS Code's API.

import { copyFile, readdir, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const shared = { dashboard: here("../../server/dashboard/static"), look: here("../../search") };
const common = { bundle: true, logLevel: "warning", absWorkingDir: here(".") };
const node = { ...common, platform: "node", target: "node20", format: "cjs", sourcemap: true };

await rm(here("out"), { recursive: true, force: true });
await build({
  ...node, entryPoints: ["src/extension.ts"], outfile: "out/extension.js", external: ["vscode"], minify: true,
  sourcemap: "linked", sourcesContent: false,
});
await build({
  ...common, entryPoints: ["webview/search_page.ts", "webview/search_page.css"], outdir: "out", platform: "browser",
  target: "chrome120", format: "iife", minify: true,
  // The tree is the dashboard's: one set of modules for the browser, for assistants and for the editor.
  alias: shared,
});
// Every package carries the licence.
await copyFile(here("../../LICENSE"), here("LICENSE"));

if (process.argv.includes("--tests")) {
  const tests = (await readdir(here("test"))).filter((name) => name.endsWith(".test.ts"));
  await build({
    ...node, entryPoints: tests.map((name) => `test/${name}`), outdir: "out/test",
    alias: { ...shared, vscode: here("test/vscode.ts") },
    // The stand-in has what tests reach, not all that the modules could.
    logOverride: { "import-is-undefined": "silent" },
  });
}
