"use strict";

const ORDERS = {
  gap: (a, b) => b.pair.gap - a.pair.gap,
  p: (a, b) => b.pair.p - a.pair.p,
  domain: (a, b) => a.tree.domain.localeCompare(b.tree.domain) || b.pair.p - a.pair.p,
  reason: (a, b) => (b.pair.fate === "accepted") - (a.pair.fate === "accepted") || String(a.pair.fate).localeCompare(String(b.pair.fate)) || b.pair.p - a.pair.p,
};

/** The pair browser: a list that can be sorted and filtered, and the chosen pair side by side. */
class PairView {
  constructor(section, trees, fates) {
    this.section = section;
    this.fates = fates;
    this.all = trees.flatMap((tree) => tree.pairs.map((pair) => ({ tree, pair })));
    this.detail = section.querySelector(".detail");
    this.box = section.querySelector("[role=listbox]");
    this.list = new LongList(this.box, (index) => this.row(index));
    this.order = section.querySelector("select.order");
    this.domain = section.querySelector("select.domain");
    this.fate = section.querySelector("select.fate");
    this.find = section.querySelector("input.find");
    this.count = section.querySelector(".count");
    for (const name of new Set(trees.map((tree) => tree.domain))) {
      this.domain.append(element("option", { value: name }, trees.find((tree) => tree.domain === name).speakers.title));
    }
    for (const name of new Set(this.all.map(({ pair }) => pair.fate).filter(Boolean))) {
      this.fate.append(element("option", { value: name }, fates[name] || name));
    }
    for (const control of [this.order, this.domain, this.fate]) control.addEventListener("change", () => this.arrange());
    this.find.addEventListener("input", () => this.arrange());
    this.box.addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.choose(Number(row.dataset.index), { focus: true });
    });
    this.box.addEventListener("keydown", (event) => this.key(event));
    section.querySelector("button.previous").addEventListener("click", () => this.choose(this.list.active - 1));
    section.querySelector("button.next").addEventListener("click", () => this.choose(this.list.active + 1));
    this.rows = [];
    this.arrange({ link: false });
  }

  get chosen() {
    return this.rows[this.list.active];
  }

  arrange({ link = true } = {}) {
    const before = this.chosen;
    const wanted = this.find.value.trim().toLowerCase();
    const told = ({ tree, pair }) =>
      `${tree.scenario} ${tree.nodes.text[pair.chosen]} ${tree.nodes.text[pair.rejected]}`.toLowerCase();
    this.rows = this.all.filter(
      (one) =>
        (!this.domain.value || one.tree.domain === this.domain.value) &&
        (!this.fate.value || one.pair.fate === this.fate.value) &&
        (!wanted || told(one).includes(wanted)),
    );
    this.rows.sort(ORDERS[this.order.value]);
    this.count.textContent = counted(this.rows.length, "pair");
    const place = this.rows.indexOf(before);
    this.list.reset(this.rows.length, place < 0 ? 0 : place);
    if (this.rows.length) this.choose(place < 0 ? 0 : place, { link: link && place >= 0 });
    else this.detail.replaceChildren(element("p", {}, this.all.length ? "No pair matches." : "There is no pair of replies with enough evidence."));
  }

  /** Show the pair of two replies; filters that hide it are cleared. False if this page does not have it. */
  show(scenario, chosen, rejected, options = {}) {
    const is = ({ tree, pair }) => tree.scenario === scenario && pair.chosen === chosen && pair.rejected === rejected;
    if (!this.all.some(is)) return false;
    if (!this.rows.some(is)) {
      this.domain.value = this.fate.value = this.find.value = "";
      this.arrange({ link: false });
    }
    this.choose(this.rows.findIndex(is), options);
    return true;
  }

  choose(index, { focus = false, link = true } = {}) {
    if (!this.rows.length) return;
    this.list.activate(index, focus);
    this.describe();
    const { tree, pair } = this.chosen;
    if (link) remember(address({ scenario: tree.scenario, chosen: pair.chosen, rejected: pair.rejected }));
  }

  key(event) {
    const at = this.list.active;
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.rows.length - 1, PageDown: at + this.list.page, PageUp: at - this.list.page };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    this.choose(steps[event.key], { focus: true });
    event.preventDefault();
  }

  row(index) {
    const { tree, pair } = this.rows[index];
    const fate = fateOf(pair, this.fates);
    const row = element(
      "div",
      { role: "option", class: `pair ${pair.fate === "accepted" ? "accepted" : "dropped"}`, "data-index": index, "aria-selected": String(index === this.list.active) },
      element("span", { class: "line" }, `gap ${gap(pair.gap)} · P ${number(pair.p)} · ${fate}${pair.people ? ` · people: ${pair.people}` : ""}`),
      element("span", { class: "said", dir: "auto" }, shortened(tree.nodes.text[pair.chosen] || "(nothing was said)", 120)),
      element("span", { class: "line" }, `${tree.speakers.title} · ${tree.scenario} · exchange ${pair.exchange + 1}`),
    );
    return row;
  }

  describe() {
    const { tree, pair } = this.chosen;
    const turns = [...tree.opening.map(([role, text]) => [role, text, null]), ...tree.turns(pair.decision)];
    const side = (name, reply, groups) =>
      element(
        "div",
        { class: `side ${name}` },
        element("h4", {}, name),
        bubble("assistant", tree.who("assistant"), tree.nodes.text[reply], { flaw: tree.nodes.flaw[reply], className: "here" }),
        element(
          "p",
          { class: "note" },
          `value ${number(tree.nodes.value[reply], 3)} ± ${number(tree.nodes.error[reply], 3)} from ${counted(groups, "user turn")}, ` +
            `${counted(tree.nodes.visits[reply], "visit")} `,
          element("a", { href: address({ scenario: tree.scenario, node: reply }) }, "show in the tree"),
        ),
        element("h5", {}, "How users answered"),
        ...futures(tree, reply),
      );
    const value = (reply) => number(tree.nodes.value[reply], 3);
    fill(
      this.detail,
      element("h3", {}, `Pair ${this.list.active + 1} of ${this.rows.length}: ${fateOf(pair, this.fates)}`),
      element(
        "p",
        { class: "note" },
        `${tree.speakers.title}, scenario ${tree.scenario}, exchange ${pair.exchange + 1}. `,
        element("a", { href: address({ scenario: tree.scenario, chosen: pair.chosen, rejected: pair.rejected }), class: "permalink" }, "link to this pair"),
      ),
      element(
        "p",
        {},
        `After the chosen reply the simulated users ended at a value of ${value(pair.chosen)} (reward, 0 worst to 1 best), judged by ${counted(pair.groups[0], "user turn")}; ` +
          `after the rejected one at ${value(pair.rejected)}, judged by ${counted(pair.groups[1], "user turn")}. ` +
          `The chance that the first is really the better one, for these simulated users, is ${Math.min(99.9, 100 * pair.p).toFixed(1)} %.`,
      ),
      element(
        "dl",
        { class: "figures" },
        ...[
          ["gap of the values", gap(pair.gap)],
          ["gap of the plain means", gap(pair.raw)],
          ["P(Q⁺ > Q⁻)", number(pair.p, 3)],
          ["user turns behind them", `${pair.groups[0]} and ${pair.groups[1]}`],
          ...(pair.people ? [["what people preferred", pair.people]] : []),
        ].map(([term, text]) => element("div", {}, element("dt", {}, term), element("dd", {}, text))),
      ),
      element("h4", {}, `Who the ${tree.who("user")} is, and what was said before`),
      element("p", { class: "note", dir: "auto" }, described(tree.condition)),
      element("div", { class: "chat" }, ...bubbles(tree, turns)),
      element("div", { class: "sides" }, side("chosen", pair.chosen, pair.groups[0]), side("rejected", pair.rejected, pair.groups[1])),
    );
  }
}
