import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandNotFound, findCommand, type Places } from "../src/find_command";

const places = (there: string[], given: Partial<Places> = {}): Places => ({
  configured: null, interpreter: null, searchPath: "/usr/local/bin:/usr/bin", folders: ["/home/me/project"],
  home: "/home/me", windows: false, trusted: true, isExecutable: (path) => there.includes(path), ...given,
});

test("the setting comes first, then the interpreter, then the PATH", () => {
  const there = ["/opt/kernelevolve", "/home/me/.venv/bin/kernelevolve", "/usr/bin/kernelevolve"];
  const interpreter = "/home/me/.venv/bin/python";
  assert.deepEqual(findCommand(places(there, { configured: "/opt/kernelevolve", interpreter })), {
    command: "/opt/kernelevolve", source: "setting",
  });
  assert.deepEqual(findCommand(places(there, { interpreter })), {
    command: "/home/me/.venv/bin/kernelevolve", source: "interpreter",
  });
  assert.deepEqual(findCommand(places(there)), { command: "/usr/bin/kernelevolve", source: "PATH" });
});

test("an interpreter without the command is passed over, an empty setting is none", () => {
  const found = findCommand(places(["/usr/bin/kernelevolve"], { interpreter: "/usr/bin3/python", configured: "  " }));
  assert.equal(found.source, "PATH");
});

test("a setting may use the home and the folder of the workspace", () => {
  const there = ["/home/me/bin/kernelevolve", "/home/me/project/.venv/bin/kernelevolve"];
  assert.equal(findCommand(places(there, { configured: "~/bin/kernelevolve" })).command, there[0]);
  const inFolder = findCommand(places(there, { configured: "${workspaceFolder}/.venv/bin/kernelevolve" }));
  assert.equal(inFolder.command, there[1]);
});

for (const [configured, folders, says] of [
  ["/nowhere/kernelevolve", ["/w"], /is "\/nowhere\/kernelevolve", but there is no executable\. Mend/],
  ["~/k", ["/w"], /is "~\/k", but there is no executable at \/home\/me\/k\./],
  ["kernelevolve", ["/w"], /no full path/],
  ["${workspaceFolder}/k", [], /no folder is open/],
] as const) {
  test(`a wrong setting is an error and nothing else is taken: ${configured}, ${folders.length} folders`, () => {
    const wrong = places(["/usr/bin/kernelevolve"], { configured, folders });
    assert.throws(() => findCommand(wrong), (error) => error instanceof CommandNotFound && says.test(error.message));
  });
}

test("without it the error says where was looked and what to do", () => {
  assert.throws(() => findCommand(places([], { interpreter: "/home/me/.venv/bin/python" })), {
    name: "CommandNotFound",
    message: /\/home\/me\/\.venv\/bin.*the PATH.*pip install kernelevolve.*kernelevolve\.command/,
  });
});

test("in a workspace that is not trusted nothing that lies in it is started", () => {
  const inside = "/home/me/project/bin/kernelevolve";
  const searchPath = "/home/me/project/bin:/usr/bin";
  assert.equal(findCommand(places([inside], { searchPath })).command, inside);
  assert.throws(() => findCommand(places([inside], { searchPath, trusted: false })), CommandNotFound);
  const outside = places([inside, "/usr/bin/kernelevolve"], { searchPath, trusted: false });
  assert.equal(findCommand(outside).command, "/usr/bin/kernelevolve");
  const venv = places(["/home/me/.venv/bin/kernelevolve"], { interpreter: "/home/me/.venv/bin/python", trusted: false });
  assert.throws(() => findCommand(venv), /not trusted/);
});

test("a folder beside the workspace with a longer name is not in it", () => {
  const command = "/home/me/project2/kernelevolve";
  assert.equal(findCommand(places([command], { searchPath: "/home/me/project2", trusted: false })).command, command);
});

test("relative entries of the PATH are passed over", () => {
  assert.throws(() => findCommand(places(["bin/kernelevolve", "kernelevolve"], { searchPath: "bin:.:" })), CommandNotFound);
});

test("on Windows the scripts of an environment are looked at", () => {
  const command = "C:\\env\\Scripts\\kernelevolve.exe";
  const found = findCommand(places([command], { windows: true, interpreter: "C:\\env\\python.exe", searchPath: "" }));
  assert.deepEqual(found, { command, source: "interpreter" });
});
