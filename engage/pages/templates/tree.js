"use strict";

/** The evidence tree: a tree of turns on the left, the dialogue of the chosen node on the right. */
class TreeView {
  constructor(section, trees, fates) {
    this.section = section;
    this.trees = trees;
    this.fates = fates;
    this.box = section.querySelector("[role=tree]");
    this.detail = section.querySelector(".detail");
    this.chooser = section.querySelector("select.scenario");
    this.list = new LongList(this.box, (index) => this.row(index));
    this.open = new Set();
    this.order = [];
    this.node = 0;
    this.shown = 0;
    for (const tree of trees) {
      const accepted = tree.pairs.filter((pair) => pair.fate === "accepted").length;
      const label = `${tree.scenario} (${tree.speakers.title}, ${counted(tree.size, "node")}, ${counted(accepted, "accepted pair")})`;
      this.chooser.append(element("option", { value: tree.scenario }, label));
    }
    this.chooser.addEventListener("change", () => this.show(this.chooser.value, 0));
    this.box.addEventListener("click", (event) => this.click(event));
    this.box.addEventListener("keydown", (event) => this.key(event));
    for (const button of section.querySelectorAll("button[data-do]")) {
      button.addEventListener("click", () => this.command(button.dataset.do));
    }
  }

  /** Show one scenario's tree with one node chosen; false if this page has no such tree or node. */
  show(scenario, node, { focus = false, link = true } = {}) {
    const tree = this.trees.find((one) => one.scenario === scenario);
    if (!tree || !(node >= 0 && node < tree.size)) return false;
    if (tree !== this.tree) {
      this.tree = tree;
      this.chooser.value = scenario;
      this.open = new Set([0, ...tree.spine, ...tree.visited]);
    }
    for (const above of tree.path(node).slice(0, -1)) this.open.add(above);
    this.arrange();
    this.choose(node, { focus, link });
    return true;
  }

  /** Bring the rows in line with what is open. */
  arrange() {
    this.order = [];
    this.levels = [];
    const waiting = [[0, 1]];
    while (waiting.length) {
      const [node, level] = waiting.pop();
      this.order.push(node);
      this.levels.push(level);
      if (this.open.has(node)) {
        for (const child of [...this.tree.children[node]].reverse()) waiting.push([child, level + 1]);
      }
    }
    this.places = new Map(this.order.map((node, index) => [node, index]));
    this.list.reset(this.order.length, this.places.get(this.node) ?? 0);
  }

  choose(node, { focus = false, link = true } = {}) {
    this.node = node;
    this.shown = 0;
    this.list.activate(this.places.get(node), focus);
    this.describe();
    if (link) remember(address({ scenario: this.tree.scenario, node }));
    // On a phone what is told of a node stands below the tree, out of sight.
    if (link && !focus && this.detail.getBoundingClientRect().top > 0.8 * innerHeight) this.detail.scrollIntoView({ block: "center" });
  }

  row(index) {
    const { tree } = this;
    const node = this.order[index];
    const level = this.levels[index];
    const { kind, text, q, low, high, visits, prior } = tree.nodes;
    const parent = tree.nodes.parent[node];
    const siblings = parent === null ? [node] : tree.children[parent];
    const role = tree.role(node);
    const said = role === null ? "opening" : text[node] || "(nothing was said)";
    const marks = this.marks(node);
    const label = [
      KINDS[kind[node]][1],
      role === null ? said : `${tree.who(role)}: ${shortened(said)}`,
      counted(visits[node], "visit"),
      `Q ${bounded(q[node], low[node], high[node])}`,
      prior[node] === null ? null : `prior ${number(prior[node])}`,
      ...marks.map(([, word]) => word),
    ];
    const leaf = tree.children[node].length === 0;
    const opened = this.open.has(node);
    const row = element(
      "div",
      {
        role: "treeitem",
        class: `node ${kind[node]} ${role || "root"} ${tree.onSpine.has(node) ? "spine" : ""} ${tree.onVisited.has(node) ? "visited" : ""}`,
        "data-node": node,
        "aria-level": level,
        "aria-posinset": siblings.indexOf(node) + 1,
        "aria-setsize": siblings.length,
        "aria-expanded": leaf ? null : String(opened),
        "aria-selected": String(node === this.node),
        "aria-label": label.filter(Boolean).join(", "),
      },
      element("span", { class: "toggle", "aria-hidden": "true" }, leaf ? "" : opened ? "▾" : "▸"),
      element("span", { class: "kind", "aria-hidden": "true", title: KINDS[kind[node]][1] }, KINDS[kind[node]][0]),
      element("span", { class: "said", dir: "auto", "aria-hidden": "true" }, marks.map(([sign]) => sign).join(""), shortened(said)),
      element(
        "span",
        { class: "figures", "aria-hidden": "true", title: `Q ${bounded(q[node], low[node], high[node])}, ${counted(visits[node], "visit")}` },
        `${visits[node]} · ${number(q[node])}`,
      ),
      element("span", { class: "range", "aria-hidden": "true" }),
    );
    row.style.setProperty("--level", level - 1);
    const range = row.lastChild;
    range.hidden = low[node] === null;
    for (const [name, value] of [["--low", low[node]], ["--high", high[node]], ["--q", q[node]]]) {
      range.style.setProperty(name, value ?? 0);
    }
    return row;
  }

  /** Signs and words for what is special about a node. */
  marks(node) {
    const { tree } = this;
    const found = [];
    if (node !== 0 && tree.onVisited.has(node)) found.push(["★ ", "on the most visited path"]);
    if (tree.isHigher.has(node)) found.push(["☆ ", "higher Q than the most visited reply"]);
    if (tree.widest === node) found.push(["↔ ", "replies differ most here"]);
    if (tree.nodes.flaw[node]) found.push(["⚠ ", `flawed: ${tree.nodes.flaw[node].replaceAll("_", " ")}`]);
    if (node !== 0 && tree.onSpine.has(node)) found.push(["", "on the search path"]);
    return found;
  }

  click(event) {
    const row = event.target.closest("[role=treeitem]");
    if (!row) return;
    const node = Number(row.dataset.node);
    if (event.target.closest(".toggle")) this.toggle(node);
    else this.choose(node, { focus: true });
  }

  toggle(node, opened = !this.open.has(node)) {
    if (opened) this.open.add(node);
    else this.open.delete(node);
    this.node = node;
    this.arrange();
    this.choose(node, { focus: true });
  }

  key(event) {
    const { tree, node, order } = this;
    const at = this.places.get(node);
    const children = tree.children[node];
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: order.length - 1, PageDown: at + this.list.page, PageUp: at - this.list.page };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) this.choose(order[Math.max(0, Math.min(steps[event.key], order.length - 1))], { focus: true });
    else if (event.key === "ArrowRight" && children.length) {
      if (this.open.has(node)) this.choose(children[0], { focus: true });
      else this.toggle(node, true);
    } else if (event.key === "ArrowLeft") {
      if (this.open.has(node) && children.length) this.toggle(node, false);
      else if (node !== 0) this.choose(tree.nodes.parent[node], { focus: true });
    } else if (event.key === "Enter" || event.key === " ") {
      if (children.length) this.toggle(node);
    } else if (event.key === "*") {
      for (const sibling of node === 0 ? [0] : tree.children[tree.nodes.parent[node]]) this.open.add(sibling);
      this.arrange();
      this.choose(node, { focus: true });
    } else return;
    event.preventDefault();
  }

  command(name) {
    const { tree } = this;
    const last = (path) => path[path.length - 1];
    if (name === "visited") this.show(tree.scenario, last(tree.visited), { focus: true });
    else if (name === "spine") this.show(tree.scenario, last(tree.spine), { focus: true });
    else if (name === "widest" && tree.widest !== null) {
      this.open.add(tree.widest);
      this.show(tree.scenario, tree.widest, { focus: true });
    } else if (name === "all" || name === "none") {
      this.open = new Set(name === "all" ? tree.nodes.parent.keys() : [0]);
      if (name === "none") this.node = 0;
      this.arrange();
      this.choose(this.node, { focus: true });
    }
  }

  /** The right side: the chosen node's figures, its dialogue to the survey, its siblings, the pairs made there. */
  describe() {
    const { tree, node } = this;
    const role = tree.role(node);
    const title = role === null ? "The opening" : `${tree.who(role)}’s turn, exchange ${Math.ceil(tree.path(node).slice(1).length / 2)}`;
    const decision = role === "assistant" ? tree.nodes.parent[node] : tree.nodes.kind[node] === "decision" ? node : null;
    fill(
      this.detail,
      element("h3", {}, title),
      element(
        "p",
        { class: "note" },
        ...this.marks(node).map(([sign, word]) => element("span", { class: "mark" }, `${sign}${word}`)),
        element("a", { href: address({ scenario: tree.scenario, node }), class: "permalink" }, "link to this node"),
      ),
      this.figures(node),
      ...this.dialogue(node),
      ...(decision === null ? [] : this.replies(decision)),
      ...(role === "assistant" ? [element("h4", {}, "What happened after this reply"), ...futures(tree, node)] : []),
    );
  }

  figures(node) {
    const { kind, visits, q, low, high, groups, prior, draws, flawed, value, error } = this.tree.nodes;
    const share = `${counted(draws[node], "draw")}, ${Math.round((100 * flawed[node]) / draws[node])} % flawed`;
    const rows = [
      ["node", KINDS[kind[node]].join(" ")],
      ["visits (N)", String(visits[node])],
      ["value (Q), 95 % interval", bounded(q[node], low[node], high[node])],
      ["independent groups behind Q", String(groups[node])],
      prior[node] === null ? null : ["prior among siblings", number(prior[node])],
      node === 0 ? null : ["sampled in", share],
      value[node] === null ? null : ["value that pairs compare", `${number(value[node], 3)} ± ${number(error[node], 3)} (standard error)`],
    ];
    return element(
      "dl",
      { class: "figures" },
      ...rows.filter(Boolean).map(([term, text]) => element("div", {}, element("dt", {}, term), element("dd", {}, text))),
    );
  }

  /** The path as a chat, then one of the simulations through the node, to the survey. */
  dialogue(node) {
    const { tree } = this;
    const simulations = tree.simulationsAt(node);
    const chat = element("div", { class: "chat" });
    const said = [...tree.opening.map(([role, text]) => [role, text, null]), ...tree.turns(node)];
    const path = bubbles(tree, said);
    if (path.length) path[path.length - 1].classList.add("here");
    const draw = () => {
      const simulation = simulations[this.shown];
      chat.replaceChildren(...path);
      if (!simulation) {
        chat.append(element("p", { class: "note" }, "No simulation went through this node."));
        return;
      }
      chat.append(...bubbles(tree, tree.rest(simulation, node), "played"), survey(tree, simulation));
      counter.textContent = `simulation ${this.shown + 1} of ${simulations.length}`;
    };
    const counter = element("span", { "aria-live": "polite" });
    const step = (by) => {
      this.shown = (this.shown + by + simulations.length) % simulations.length;
      draw();
    };
    const before = element("button", { type: "button" }, "previous");
    const after = element("button", { type: "button" }, "next");
    before.addEventListener("click", () => step(-1));
    after.addEventListener("click", () => step(1));
    draw();
    const many = simulations.length > 1;
    return [
      element("h4", {}, "The dialogue"),
      element("p", { class: "note" }, described(tree.condition)),
      many ? element("p", { class: "steps" }, "How it went on: ", before, " ", counter, " ", after) : null,
      chat,
    ];
  }

  /** The replies at a decision side by side, with P that the best is better, and what became of the pairs. */
  replies(decision) {
    const { tree } = this;
    const { text, visits, groups, value, error, q, low, high } = tree.nodes;
    const replies = [...tree.children[decision]].sort((a, b) => (value[b] ?? -1) - (value[a] ?? -1) || visits[b] - visits[a]);
    if (!replies.length) return [];
    const best = replies[0];
    const rows = replies.map((reply) => {
      const pair = reply === best ? undefined : tree.pairOf(best, reply);
      const p = pair ? number(pair.chosen === best ? pair.p : 1 - pair.p) : "–";
      const link = element("a", { href: address({ scenario: tree.scenario, node: reply }) }, shortened(text[reply] || "(nothing was said)"));
      link.dir = "auto";
      return element(
        "tr",
        { class: reply === this.node ? "here" : null },
        element("th", { scope: "row" }, link),
        element("td", {}, String(visits[reply])),
        element("td", {}, bounded(q[reply], low[reply], high[reply])),
        element("td", {}, String(groups[reply])),
        element("td", {}, value[reply] === null ? "–" : `${number(value[reply], 3)} ± ${number(error[reply], 3)}`),
        element("td", {}, reply === best && value[best] !== null ? "best" : p),
      );
    });
    const head = ["reply", "visits", "Q [95\u00a0%]", "user turns", "value ± s.e.", "P best > this"];
    return [
      element("h4", {}, "The replies side by side"),
      element(
        "div",
        { class: "wide", tabindex: "0", role: "region", "aria-label": "The replies side by side" },
        element(
          "table",
          {},
          element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col" }, name)))),
          element("tbody", {}, ...rows),
        ),
      ),
      element("h4", {}, "Pairs made here"),
      this.pairsAt(decision, replies.filter((reply) => value[reply] !== null).length),
    ];
  }

  pairsAt(decision, withValue) {
    const { tree } = this;
    const pairs = tree.pairs.filter((pair) => pair.decision === decision);
    if (!pairs.length) {
      const reason = !tree.onSpine.has(decision)
        ? "None: pairs come only from nodes that the search started from (the search path)."
        : `None: a pair needs two replies with two rewarded user turns each; ${withValue} here ${withValue === 1 ? "has" : "have"} them.`;
      return element("p", {}, reason);
    }
    const items = [...pairs]
      .sort((a, b) => (b.fate === "accepted") - (a.fate === "accepted") || b.p - a.p)
      .map((pair) =>
        element(
          "li",
          {},
          element("a", { href: address({ scenario: tree.scenario, chosen: pair.chosen, rejected: pair.rejected }) }, fateOf(pair, this.fates)),
          `: gap ${gap(pair.gap)}, P ${number(pair.p)}; `,
          element("q", { dir: "auto" }, shortened(tree.nodes.text[pair.chosen] || "", 80)),
          " over ",
          element("q", { dir: "auto" }, shortened(tree.nodes.text[pair.rejected] || "", 80)),
        ),
      );
    return element("ul", { class: "pairs-here" }, ...items);
  }
}
