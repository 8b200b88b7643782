import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import type { LogOutputChannel, Uri } from "vscode";
import { request } from "../src/chat";
import { Commands } from "../src/commands";
import type { LinkState, ServerLink } from "../src/link";
import { mcpServer, provideMcpServer } from "../src/mcp";
import { Pages } from "../src/pages";
import type { CommandArgument } from "../src/protocol";
import { nearest } from "../src/selection";
import { costsInLenses, serverSettings } from "../src/settings";
import { desk, EventEmitter, McpStdioServerDefinition } from "./vscode";

class Link implements ServerLink {
  state: LinkState = "running";
  trouble = "";
  readonly asked: [string, CommandArgument][] = [];
  answer: unknown = { search: "s1" };
  readonly onStateChanged = new EventEmitter<LinkState>().event as unknown as ServerLink["onStateChanged"];
  readonly onSearchesChanged = new EventEmitter<readonly string[]>().event as unknown as ServerLink["onSearchesChanged"];
  request<Result>(): Promise<Result> {
    return Promise.reject(new Error("no request is expected"));
  }
  async command<Result>(command: string, argument: CommandArgument): Promise<Result> {
    this.asked.push([command, argument]);
    if (this.answer instanceof Error) throw this.answer;
    return this.answer as Result;
  }
}

const written: string[] = [];
const log = {
  error: (text: string) => written.push(text), warn: (text: string) => written.push(text),
  info: (text: string) => written.push(text), show: () => undefined,
} as unknown as LogOutputChannel;

const lens = (line: number, kernel: string) => ({
  range: { start: { line } },
  command: { command: "kernelevolve.optimize", arguments: [{ uri: "file:///k.py", kernel }] },
});

let link: Link;
let commands: Commands;

beforeEach(() => {
  desk.reset();
  written.length = 0;
  link = new Link();
  commands = new Commands(link, new Pages(), log);
  commands.register();
});

function openFile(line: number): void {
  desk.editor = { document: { uri: "file:///k.py" }, selection: { active: { line } } };
  desk.answers["vscode.executeCodeLensProvider"] = [lens(3, "first"), { range: { start: { line: 3 } } }, lens(20, "second")];
}

const optimizeSelected = async () => { await desk.registered.get("kernelevolve.optimizeSelected")?.(); };

test("the kernel under the cursor is optimized by a search", async () => {
  desk.settings["kernelevolve.optimizeWith"] = "search";
  openFile(25);
  await optimizeSelected();
  assert.deepEqual(link.asked, [["kernelevolve.optimize", { uri: "file:///k.py", kernel: "second" }]]);
  assert.deepEqual(desk.shown, ["information: Search s1 has begun."]);
});

test("the last kernel above the cursor is meant, or the first of the file", () => {
  assert.equal(nearest([3, 20, 40], 25), 1);
  assert.equal(nearest([3, 20], 3), 0);
  assert.equal(nearest([3, 20], 0), 0);
  assert.equal(nearest([20, 3], 0), 1);
  assert.equal(nearest([], 5), -1);
});

test("the chat gets the job, and no search is started", async () => {
  desk.settings["kernelevolve.optimizeWith"] = "chat";
  desk.answers["workbench.action.chat.open"] = null;
  openFile(4);
  await optimizeSelected();
  assert.deepEqual(link.asked, []);
  const opened = desk.executed.find(([name]) => name === "workbench.action.chat.open");
  assert.deepEqual(opened?.[1], { query: request("k.py", "first"), mode: "agent" });
});

test("an editor without a chat says so and what to do", async () => {
  desk.settings["kernelevolve.optimizeWith"] = "chat";
  openFile(4);
  await optimizeSelected();
  assert.match(desk.shown.join(), /^error: This editor has no chat\. Set `kernelevolve\.optimizeWith`/);
});

test("who is asked decides, and may want neither", async () => {
  openFile(4);
  await optimizeSelected();
  assert.deepEqual([link.asked.length, desk.shown.length], [0, 0]);
  desk.pick = 0;
  await optimizeSelected();
  assert.equal(link.asked.length, 1);
});

test("nothing is started in a workspace that is not trusted", async () => {
  desk.settings["kernelevolve.optimizeWith"] = "search";
  desk.trusted = false;
  openFile(4);
  await optimizeSelected();
  assert.deepEqual(link.asked, []);
  assert.match(desk.shown.join(), /not trusted/);
});

test("an error of the server is shown in its words and written to the log", async () => {
  desk.settings["kernelevolve.optimizeWith"] = "search";
  openFile(4);
  link.answer = new Error("No task belongs to this file: write `# kernelevolve: task PATH` into it.");
  await optimizeSelected();
  assert.deepEqual(desk.shown, ["error: No task belongs to this file: write `# kernelevolve: task PATH` into it."]);
  assert.deepEqual(written, ["No task belongs to this file: write `# kernelevolve: task PATH` into it."]);
});

test("what was cancelled is no error", async () => {
  desk.settings["kernelevolve.optimizeWith"] = "search";
  openFile(4);
  link.answer = Object.assign(new Error("Request cancelled"), { code: -32800 });
  await optimizeSelected();
  assert.deepEqual(desk.shown, ["bar: KernelEvolve: cancelled"]);
});

test("without a file or a kernel the error says what to do", async () => {
  await optimizeSelected();
  assert.match(desk.shown.join(), /No file is open/);
  desk.shown = [];
  openFile(1);
  desk.answers["vscode.executeCodeLensProvider"] = [];
  await optimizeSelected();
  assert.match(desk.shown.join(), /No kernel is known in this file.*Make a Task/);
});

test("with lenses switched off the file is meant", async () => {
  desk.settings = { "kernelevolve.optimizeWith": "search", "kernelevolve.lenses.enabled": false };
  openFile(1);
  desk.answers["vscode.executeCodeLensProvider"] = [];
  await optimizeSelected();
  assert.deepEqual(link.asked, [["kernelevolve.optimize", { uri: "file:///k.py" }]]);
});

test("a task is made from the function that the server offers at the cursor", async () => {
  openFile(1);
  const argument = { uri: "file:///k.py", function: "norm" };
  desk.answers["vscode.executeCodeActionProvider"] = [{}, { command: { command: "kernelevolve.makeTask", arguments: [argument] } }];
  await desk.registered.get("kernelevolve.makeTaskSelected")?.();
  assert.deepEqual(link.asked, [["kernelevolve.makeTask", argument]]);
  desk.answers["vscode.executeCodeActionProvider"] = [];
  await desk.registered.get("kernelevolve.makeTaskSelected")?.();
  assert.match(desk.shown.at(-1) ?? "", /no function that a task can be made from/);
});

test("the server is told its settings and the trust, and nothing of the extension's own", () => {
  desk.settings = { "kernelevolve.targets": ["cuda:sm_90"], "kernelevolve.hints.enabled": false, "kernelevolve.command": "/k" };
  desk.trusted = false;
  const told = serverSettings();
  assert.deepEqual(told.targets, ["cuda:sm_90"]);
  assert.deepEqual(told.hints, { enabled: false });
  assert.equal(told.trusted, false);
  assert.equal(told.state, null);
  assert.ok(!("command" in told) && !("optimizeWith" in told));
});

test("costs stand in lenses, unless there are none or the user wants them behind the line", () => {
  assert.equal(costsInLenses(), true);
  for (const setting of [["kernelevolve.hints.place", "line"], ["kernelevolve.lenses.enabled", false], ["editor.codeLens", false]] as const) {
    desk.settings = { [setting[0]]: setting[1] };
    assert.equal(costsInLenses(), false, setting[0]);
  }
});

const changes = new EventEmitter<unknown>();
const provide = (command: () => Promise<{ command: string; source: "PATH" }>) =>
  provideMcpServer(command, "1.2.3", log, changes.event as never);

test("the chat gets the MCP server, on the state folder of the setting", async () => {
  desk.settings["kernelevolve.state"] = "/state";
  provide(async () => ({ command: "/bin/kernelevolve", source: "PATH" }));
  const env = { KERNELEVOLVE_STATE: "/state" };
  assert.deepEqual(await desk.mcp?.provideMcpServerDefinitions(), [
    new McpStdioServerDefinition("KernelEvolve", "/bin/kernelevolve", ["serve"], env, "1.2.3"),
  ]);
  assert.deepEqual(mcpServer("k", null).env, {});
});

test("without trust or without the command the chat gets no server", async () => {
  provide(async () => ({ command: "/bin/kernelevolve", source: "PATH" }));
  desk.trusted = false;
  assert.deepEqual(await desk.mcp?.provideMcpServerDefinitions(), []);
  desk.trusted = true;
  provide(() => Promise.reject(new Error("it is nowhere")));
  assert.deepEqual(await desk.mcp?.provideMcpServerDefinitions(), []);
  assert.match(written.join(), /it is nowhere/);
});

test("pages are kept by name, and the oldest make room", () => {
  const pages = new Pages();
  const first: Uri = pages.keep("first", "one");
  const text = () => pages.provideTextDocumentContent(first);
  assert.equal(text(), "one");
  pages.keep("first", "two");
  assert.equal(text(), "two");
  for (let index = 0; index < 40; index += 1) pages.keep(`page ${index}`, "");
  assert.match(text(), /not kept/);
});
