// The search tree inside an assistant: talks to the client that shows it, over the messages of MCP Apps.

import { Forest } from "./tree_model.js";
import { TreeView, visible } from "./tree_view.js";

const PROTOCOL = "2026-01-26";
const INSIDE = { name: "kernelevolve-search-tree", version: "1" };

class Host {
  constructor(told) {
    this.told = told;
    this.asked = new Map();
    this.number = 0;
    addEventListener("message", (event) => {
      if (event.source === parent && event.data?.jsonrpc === "2.0") this.hear(event.data);
    });
  }

  send(message) { parent.postMessage({ jsonrpc: "2.0", ...message }, "*"); }

  tell(method, params = {}) { this.send({ method, params }); }

  ask(method, params) {
    this.number += 1;
    const id = this.number;
    return new Promise((resolve, reject) => {
      this.asked.set(id, { resolve, reject });
      this.send({ id, method, params });
    });
  }

  hear(message) {
    if (message.method === undefined) {
      const waiting = this.asked.get(message.id);
      this.asked.delete(message.id);
      if (message.error) waiting?.reject(new Error(message.error.message));
      else waiting?.resolve(message.result);
      return;
    }
    this.told[message.method]?.(message.params ?? {});
    // A ping, or the word that the page is about to go: both want an answer.
    if (message.id !== undefined) this.send({ id: message.id, result: {} });
  }
}

const page = (id) => document.getElementById(id);

class SearchApp {
  constructor() {
    this.host = new Host({
      "ui/notifications/tool-input": ({ arguments: given }) => { this.searchId ??= given?.search_id; },
      "ui/notifications/tool-result": (result) => this.take(result),
      "ui/notifications/host-context-changed": (context) => this.dress(context),
    });
    page("app-best").addEventListener("click", () => this.view?.goTo(this.forest.leader));
    page("app-unfold").addEventListener("click", () => this.foldAll(true));
    page("app-fold").addEventListener("click", () => this.foldAll(false));
    page("app-again").addEventListener("click", () => this.load());
  }

  async start() {
    const answer = await this.host.ask("ui/initialize", {
      protocolVersion: PROTOCOL, appInfo: INSIDE, appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
    });
    this.mayCall = answer.hostCapabilities?.serverTools !== undefined;
    page("app-again").hidden = !this.mayCall;
    this.dress(answer.hostContext ?? {});
    this.host.tell("ui/notifications/initialized");
    new ResizeObserver(() => {
      const { scrollWidth: width } = document.documentElement;
      this.host.tell("ui/notifications/size-changed", { width, height: Math.ceil(document.body.scrollHeight) });
    }).observe(document.body);
  }

  dress({ theme }) {
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  }

  foldAll(open) {
    this.forest?.setAll(open);
    this.view?.refresh();
  }

  async call(view, more = {}) {
    const result = await this.host.ask("tools/call", {
      name: "get_search", arguments: { search_id: this.searchId, view, ...more },
    });
    if (result.isError) throw new Error(result.content?.[0]?.text ?? "get_search failed");
    return result;
  }

  async load() {
    try {
      this.draw((await this.call("tree")).structuredContent);
    } catch (error) {
      page("app-summary").textContent = String(error.message);
    }
  }

  async take(result) {
    const report = result.structuredContent;
    if (!report?.summary) return;
    this.searchId = report.summary.search_id;
    if (report.nodes?.length) this.draw(report);
    else {
      this.say(report.summary);
      if (this.mayCall) await this.load();
    }
  }

  say(summary) {
    const { winner } = summary;
    const gain = winner ? (winner.confirmed ?? winner.fitness).speedup : 0;
    const best = gain ? `best ${gain.toFixed(2)}× at #${winner.step}` : "nothing correct yet";
    const state = summary.reason ? `ended: ${summary.reason.replaceAll("_", " ")}` : "running";
    page("app-summary").textContent = visible(
      `${summary.task.split("/").pop()} on ${summary.platform} · ${state} · ${summary.evaluations} candidates · ${best}`,
    );
  }

  draw(report) {
    this.say(report.summary);
    const nodes = report.nodes;
    const place = new Map(nodes.map((node, index) => [node.step, index]));
    const kinds = [...new Set(nodes.map((node) => node.status))];
    this.forest = new Forest();
    this.forest.names = nodes.map((node) => node.step);
    this.forest.take({
      first: 0,
      parents: nodes.map((node) => place.get(node.parents[0]) ?? -1),
      kinds,
      kind: nodes.map((node) => kinds.indexOf(node.status)),
      speedups: nodes.map((node) => node.speedup),
      leader: place.get(report.summary.winner?.step) ?? -1,
    });
    const labels = async (steps) => Object.fromEntries(
      steps.map((step) => [step, [nodes[step].mutation || "starting point", ""]]),
    );
    this.view?.leave();
    this.view = new TreeView(page("app-tree"), this.forest, labels, (index) => this.show(nodes[index]));
    this.view.refresh();
    if (this.forest.leader >= 0) this.view.goTo(this.forest.leader);
  }

  async show(node) {
    page("app-node").hidden = false;
    page("app-node-title").textContent = visible(`#${node.step} ${node.mutation || "starting point"}`);
    const detail = page("app-detail");
    if (!this.mayCall) { detail.textContent = node.status.replaceAll("_", " "); return; }
    detail.textContent = "…";
    try {
      detail.textContent = visible((await this.call("node", { step: node.step })).content[0].text);
    } catch (error) {
      detail.textContent = String(error.message);
    }
  }
}

new SearchApp().start();
