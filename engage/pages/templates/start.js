"use strict";

/** Fill the page from its data, and go where the address points. */
function start() {
  const block = document.getElementById("evidence-data");
  if (!block) return;
  const data = JSON.parse(block.textContent);
  const trees = data.trees.map((tree) => new Tree(tree, data.domains[tree.domain], data.ends));
  const treeSection = document.getElementById("tree");
  const pairSection = document.getElementById("pairs");
  // A cycle may have dialogues and no tree: the links to those work all the same.
  const treeView = trees.length ? new TreeView(treeSection, trees, data.fates) : null;
  const pairView = trees.length ? new PairView(pairSection, trees, data.fates) : null;
  treeView?.show(trees[0].scenario, 0, { link: false });

  /** Bring a part into view, or what it says of the place where that stands below its list, as on a phone. */
  const bring = (section) => {
    section.scrollIntoView();
    const title = section.querySelector(".detail h3");
    if (title.getBoundingClientRect().bottom > innerHeight) title.scrollIntoView();
  };
  const go = (hash) => {
    const fields = new URLSearchParams(hash.slice(1));
    const scenario = fields.get("scenario");
    const place = scenario === null && hash.length > 1 ? document.getElementById(hash.slice(1)) : null;
    if (place !== null) {
      for (let at = place.closest("details"); at !== null; at = at.parentElement.closest("details")) at.open = true;
      place.scrollIntoView();
    }
    if (scenario === null) return;
    const missing = document.getElementById("missing");
    missing.hidden = true;
    if (fields.has("chosen")) {
      if (pairView?.show(scenario, Number(fields.get("chosen")), Number(fields.get("rejected")), { focus: true, link: false })) {
        bring(pairSection);
        return;
      }
    } else if (treeView?.show(scenario, Number(fields.get("node") ?? 0), { focus: true, link: false })) {
      bring(treeSection);
      return;
    }
    missing.querySelector("code").textContent = `engage report --scenario ${scenario}`;
    missing.hidden = false;
    missing.scrollIntoView();
  };
  window.addEventListener("hashchange", () => go(location.hash));
  // A page inside a frame, as MLflow shows it, may not go to an address of its own, and a link that is followed again changes no address:
  // links within the page are followed here.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('main a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    try {
      history.pushState(null, "", link.getAttribute("href"));
    } catch {
      /* the frame forbids it */
    }
    go(link.getAttribute("href"));
  });
  document.addEventListener("keydown", (event) => {
    if (!["j", "k"].includes(event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea")) return;
    const inPairs = pairSection.contains(event.target) || location.hash.includes("chosen=") || location.hash === "#pairs";
    if (inPairs) pairView?.choose(pairView.list.active + (event.key === "j" ? 1 : -1), { focus: true });
  });
  go(location.hash);
}

start();
