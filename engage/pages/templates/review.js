"use strict";

/** A review: one item at a time, judged by key or button. Asks the server that shows the page; it knows what is next. */
class ReviewPage {
  constructor(root) {
    this.item = root.querySelector(".item");
    this.alert = root.querySelector("[role=alert]");
    this.note = root.querySelector("[role=status]");
    this.progress = root.querySelector("progress");
    this.count = root.querySelector(".count");
    this.buttons = [...root.querySelectorAll(".verdicts button")];
    this.judged = root.querySelector(".judged");
    this.token = new URLSearchParams(location.search).get("token");
    this.busy = false;
    this.state = null;
    for (const button of this.buttons) button.addEventListener("click", () => this.press(button.dataset.key));
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.repeat) return;
      if (this.buttons.some((button) => button.dataset.key === event.key.toLowerCase())) {
        event.preventDefault();
        this.press(event.key.toLowerCase());
      }
    });
    this.ask({ do: "look" });
  }

  press(key) {
    const button = this.buttons.find((one) => one.dataset.key === key);
    if (this.busy || this.state === null || button.disabled) return;
    if (key === "c") this.context().open = !this.context().open;
    else if (key === "u") this.ask({ do: "undo" });
    else if (key === "v") this.ask({ do: "values" });
    else this.ask({ do: "judge", key, item: this.state.item.id });
  }

  /** Send what the reviewer does; the answer is what to show next. One at a time, so that no key counts for an item that is not seen yet. */
  async ask(request) {
    this.busy = true;
    try {
      const answer = await fetch("review", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Engage-Token": this.token },
        body: JSON.stringify(request),
      });
      if (!answer.ok) throw new Error(await answer.text());
      this.show(await answer.json());
      this.alert.hidden = true;
    } catch (error) {
      const gone = error instanceof TypeError;
      this.alert.textContent = gone ? "engage review has ended; nothing that you judged is lost. Start it again to go on." : error.message;
      this.alert.hidden = false;
      this.alert.scrollIntoView();
    }
    this.busy = false;
  }

  show(state) {
    const next = state.item?.id !== this.state?.item?.id;
    this.state = state;
    this.progress.value = state.total ? state.done / state.total : 1;
    this.count.textContent = `${state.done} of ${state.total}`;
    this.note.textContent = state.undone ?? "";
    for (const button of this.buttons) {
      const key = button.dataset.key;
      button.disabled = key === "u" ? !state.undo : key === "v" ? !state.judged : state.item === null;
    }
    if (next || state.item === null) this.draw(state.item);
    this.judged.hidden = state.values === null;
    if (state.values !== null) {
      const cell = (text) => element("td", { class: "words", dir: "auto" }, text);
      const row = (one) => element("tr", {}, element("th", { scope: "row" }, one.scenario), cell(one.said), cell(one.facts));
      fill(this.judged.querySelector("tbody"), ...state.values.map(row));
      if (!next && state.item !== null) this.judged.scrollIntoView();
    }
  }

  draw(item) {
    if (item === null) {
      const end = element("button", { type: "button" }, "End the review");
      end.addEventListener("click", () => this.end());
      fill(this.item, element("h2", {}, "All judged. Thank you!"), element("p", {}, "V shows what you judged beside the hidden values; U takes the last judgement back."), end);
      return;
    }
    const said = (turns) => turns.map(([role, text]) => bubble(role, item.who[role], text));
    const alone = (turns) => (turns.length === 1 ? turns.map(([role, text]) => bubble(role, "", text)) : said(turns)); // A or B names it
    const side = (letter, turns) => element("div", { class: "side plain" }, element("h2", {}, letter), element("div", { class: "chat" }, ...alone(turns)));
    fill(
      this.item,
      this.about(item, said(item.earlier)),
      element("div", { class: "chat" }, ...said(item.latest)),
      element("div", { class: "sides" }, side("A", item.a), side("B", item.b)),
    );
    scrollTo(0, 0);
    this.item.focus({ preventScroll: true });
  }

  /** Who the user is and what was said earlier: one line, which opens to the whole. */
  about(item, earlier) {
    const folded = earlier.length ? ` · ${counted(earlier.length, "earlier turn")}` : `the ${item.who.user}`;
    return element(
      "details",
      { class: "note context" },
      element("summary", {}, `${item.title}: `, element("span", { class: "said", dir: "auto" }, item.gist), folded),
      element("p", { dir: "auto" }, described(item.condition)),
      element("div", { class: "chat" }, ...earlier),
    );
  }

  context() {
    return this.item.querySelector("details.context");
  }

  async end() {
    await this.ask({ do: "finish" });
    fill(this.item, element("h2", {}, "The review has ended."), element("p", {}, "You can close this page."));
    for (const button of this.buttons) button.disabled = true;
  }
}

new ReviewPage(document.getElementById("review"));
