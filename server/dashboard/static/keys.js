// Keys that work on every page: rows of a table, pages of candidates, the search field, help.

const writing = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

const rows = () => [...document.querySelectorAll("table[data-rows] tbody tr")];

const move = (by) => {
  const all = rows();
  if (!all.length) return false;
  const now = all.findIndex((row) => row.contains(document.activeElement));
  const next = now < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, now + by));
  (all[next].querySelector("a") ?? all[next]).focus();
  return true;
};

const follow = (selector) => {
  const link = document.querySelector(selector);
  if (link) link.click();
  return link !== null;
};

const toField = () => {
  const field = document.querySelector("[data-search-field]");
  if (!field) return false;
  field.focus();
  field.select();
  return true;
};

const up = () => follow("a[data-up]") || follow(".top nav a[aria-current]");

const actions = {
  j: () => move(1) || follow("a[rel=next]"),
  ArrowDown: () => (rows().some((row) => row.contains(document.activeElement)) ? move(1) : false),
  k: () => move(-1) || follow("a[rel=prev]"),
  ArrowUp: () => (rows().some((row) => row.contains(document.activeElement)) ? move(-1) : false),
  ArrowRight: () => follow("a[rel=next]"),
  ArrowLeft: () => follow("a[rel=prev]"),
  u: up,
  "/": toField,
};

export const setUpKeys = () => {
  const help = document.getElementById("help");
  const show = () => { if (!help.open) help.showModal(); };
  document.getElementById("help-button")?.addEventListener("click", show);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (writing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.target.closest("pre") && event.key.startsWith("Arrow")) return; // Scrolls the text.
    if (event.key === "?") show();
    else {
      const tree = document.getElementById("tree");
      if (tree && document.activeElement !== tree && ["j", "k", "b"].includes(event.key)) {
        tree.focus();
        tree.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, bubbles: false }));
      } else if (!actions[event.key]?.()) return;
    }
    event.preventDefault();
  });
};
