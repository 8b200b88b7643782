// A client without an editor: the protocol's own library, and the server as a process.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { pathToFileURL } from "node:url";
import {
  CodeLensRequest, createProtocolConnection, DidOpenTextDocumentNotification, DidSaveTextDocumentNotification,
  ExecuteCommandRequest, ExitNotification, InitializedNotification, InitializeRequest, InlayHintRequest,
  InlayHintRefreshRequest, CodeLensRefreshRequest, DiagnosticRefreshRequest, ApplyWorkspaceEditRequest,
  ConfigurationRequest, RegistrationRequest, ShowMessageNotification, ShutdownRequest, StreamMessageReader,
  StreamMessageWriter, WorkDoneProgress, WorkDoneProgressCreateRequest,
} from "vscode-languageserver-protocol/node";

/** What VS Code's client library declares, as far as the server looks at it. */
const CAPABILITIES = {
  general: { positionEncodings: ["utf-16"] },
  window: { workDoneProgress: true, showMessage: {} },
  workspace: {
    applyEdit: true, configuration: true, didChangeConfiguration: { dynamicRegistration: true },
    workspaceEdit: { documentChanges: true, resourceOperations: ["create", "rename", "delete"] },
    inlayHint: { refreshSupport: true }, codeLens: { refreshSupport: true }, diagnostics: { refreshSupport: true },
    executeCommand: { dynamicRegistration: true },
  },
  textDocument: {
    synchronization: { didSave: true }, hover: { contentFormat: ["markdown", "plaintext"] }, codeLens: {},
    inlayHint: {}, diagnostic: {}, completion: { completionItem: { documentationFormat: ["markdown"] } },
    codeAction: { codeActionLiteralSupport: { codeActionKind: { valueSet: ["quickfix", "refactor"] } } },
  },
  experimental: { kernelevolve: { searches: true } },
};

/** A started server, initialized. */
export class Client {
  /** Messages shown, edits asked for, progress seen, in their order. */
  shown = [];
  edits = [];
  progress = [];
  moved = [];

  /**
   * @param {string} command path of `kernelevolve`
   * @param {string} state folder for searches and caches
   * @param {object} settings of the section `kernelevolve`
   */
  constructor(command, state, settings = {}) {
    this.settings = { state, ...settings };
    // Not in a folder with Python files: modules would be taken from it.
    this.process = spawn(command, ["lsp", "--stdio"], { cwd: tmpdir(), stdio: ["pipe", "pipe", "pipe"] });
    this.errors = "";
    this.process.stderr.on("data", (text) => { this.errors += String(text); });
    this.connection = createProtocolConnection(
      new StreamMessageReader(this.process.stdout), new StreamMessageWriter(this.process.stdin),
    );
    this.listen();
    this.connection.listen();
  }

  listen() {
    const { connection } = this;
    for (const refresh of [InlayHintRefreshRequest, CodeLensRefreshRequest, DiagnosticRefreshRequest]) {
      connection.onRequest(refresh.type, () => null);
    }
    connection.onRequest(RegistrationRequest.type, () => undefined);
    connection.onRequest(ConfigurationRequest.type, ({ items }) => items.map(() => this.settings));
    connection.onRequest(ApplyWorkspaceEditRequest.type, ({ edit }) => {
      this.edits.push(edit);
      return { applied: true };
    });
    connection.onRequest(WorkDoneProgressCreateRequest.type, ({ token }) => {
      connection.onProgress(WorkDoneProgress.type, token, (value) => { this.progress.push(value); });
    });
    connection.onNotification(ShowMessageNotification.type, ({ message }) => { this.shown.push(message); });
    connection.onNotification("kernelevolve/searchesChanged", ({ searches }) => { this.moved.push(...searches); });
  }

  async start(folder) {
    const workspaceFolders = [{ uri: pathToFileURL(folder).href, name: "project" }];
    const answer = await this.connection.sendRequest(InitializeRequest.type, {
      processId: process.pid, rootUri: workspaceFolders[0].uri, capabilities: CAPABILITIES, workspaceFolders,
      initializationOptions: this.settings,
    });
    await this.connection.sendNotification(InitializedNotification.type, {});
    return answer;
  }

  async open(path, languageId) {
    const uri = pathToFileURL(path).href;
    const text = readFileSync(path, "utf8");
    await this.connection.sendNotification(DidOpenTextDocumentNotification.type, {
      textDocument: { uri, languageId, version: 1, text },
    });
    return { uri, text };
  }

  async saved(uri) {
    await this.connection.sendNotification(DidSaveTextDocumentNotification.type, { textDocument: { uri } });
  }

  async lenses(uri) {
    return (await this.connection.sendRequest(CodeLensRequest.type, { textDocument: { uri } })) ?? [];
  }

  async hints(uri, lines) {
    const range = { start: { line: 0, character: 0 }, end: { line: lines, character: 0 } };
    return (await this.connection.sendRequest(InlayHintRequest.type, { textDocument: { uri }, range })) ?? [];
  }

  async command(command, argument) {
    return await this.connection.sendRequest(ExecuteCommandRequest.type, { command, arguments: [argument] });
  }

  /** Ask again until the answer is as wanted. The runner's limit ends what never is. */
  async until(ask, wanted) {
    for (;;) {
      const answer = await ask();
      if (wanted(answer)) return answer;
      await new Promise((resolve) => { setTimeout(resolve, 200); });
    }
  }

  async end() {
    const ended = new Promise((resolve) => { this.process.once("exit", resolve); });
    await this.connection.sendRequest(ShutdownRequest.type);
    await this.connection.sendNotification(ExitNotification.type);
    return await ended;
  }
}
