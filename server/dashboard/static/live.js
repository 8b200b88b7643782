// Live parts: when the change log says that something happened, the parts that show it are fetched anew.

const EVERY = 1000; // Milliseconds between two fetches, at least.

const replaceParts = async (address) => {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (answer.redirected || answer.status === 401) { location.reload(); return; }
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of fresh.querySelectorAll("[data-region]")) {
    const old = document.getElementById(part.id);
    if (!old || old.outerHTML === part.outerHTML) continue;
    // Who stands on a link with the keyboard goes on standing on it.
    const link = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const place = old.querySelector(".events")?.scrollTop;
    old.replaceWith(document.adoptNode(part));
    if (place) part.querySelector(".events").scrollTop = place;
    if (link) part.querySelector(`a[href="${CSS.escape(link)}"]`)?.focus();
  }
};

const partOf = () => {
  const address = new URL(location.href);
  address.searchParams.set("part", "1");
  address.hash = "";
  return address;
};

export const follow = (tree) => {
  const live = document.querySelector("[data-live]");
  if (!live) return;
  const says = document.getElementById("following");
  const say = (text, state) => { says.textContent = text; says.dataset.state = state; };
  const base = document.body.dataset.base;
  const only = live.dataset.search ? `&search=${live.dataset.search}` : "";
  const changed = new Set();
  let known = live.dataset.after;
  let source = null;
  let waiting = false;
  let working = false;

  const work = async () => {
    if (working) { waiting = true; return; }
    working = true;
    const steps = new Set(changed);
    changed.clear();
    try {
      await Promise.all([replaceParts(partOf()), tree ? tree.update(steps) : null]);
    } catch (error) {
      say("can't update", "lost");
      console.error(error);
    }
    setTimeout(() => {
      working = false;
      if (waiting) { waiting = false; work(); }
    }, EVERY);
  };

  const hear = (event) => {
    known = event.lastEventId;
    const { node } = JSON.parse(event.data);
    if (node !== null) changed.add(node);
    work();
  };

  const open = () => {
    source = new EventSource(`${base}/live?after=${known}${only}`);
    source.addEventListener("open", () => say("live", "on"));
    source.addEventListener("error", () => {
      say(source.readyState === EventSource.CLOSED ? "not following" : "reconnecting", "lost");
    });
    source.addEventListener("ended", () => { source.close(); location.reload(); });
    source.addEventListener("message", hear);
  };

  // A browser opens six connections to a server: tabs in the background must not take them all.
  document.addEventListener("visibilitychange", () => {
    source.close();
    if (document.visibilityState === "visible") open();
    else say("paused", "");
  });
  addEventListener("pagehide", () => source.close());
  open();
};
