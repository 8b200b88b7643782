// Every page: the switch of colours, the keys, live parts; on a search's page the tree.

import { follow } from "./live.js";
import { setUpKeys } from "./keys.js";
import { setUpTree } from "./search_tree.js";

const setUpTheme = () => {
  const root = document.documentElement;
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("kernelevolve-theme", root.dataset.theme); } catch { /* A private window keeps nothing. */ }
  });
};

const askFirst = () => {
  for (const form of document.querySelectorAll("form[data-confirm]")) {
    form.addEventListener("submit", (event) => {
      if (!confirm(form.dataset.confirm)) event.preventDefault();
    });
  }
};

setUpTheme();
askFirst();
setUpKeys();
const tree = await setUpTree();
follow(tree);
