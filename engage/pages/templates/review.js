"use strict";

/** A review: one item at a time, judged by key or button. Asks the server that shows the page; it knows what is next. */
class ReviewPage {
  constructor(root) {
    this.item = root.querySelector(".item");
    this.alert = root.querySelector("[role=alert]");
    this.progress = root.querySelector("progress");
    this.count = root.querySelector(".count");
    this.buttons = [...root.querySelectorAll(".verdicts button")];
    this.judged = root.querySelector(".judged");
    this.token = new URLSearchParams(location.search).get("token");
    this.busy = false;
    this.state = null;
    this.open = false;
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
    if (key === "u") this.ask({ do: "undo" });
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
    const side = (letter, turns) => element("div", { class: "side plain" }, element("h2", {}, letter), element("div", { class: "chat" }, ...said(turns)));
    const before = element("div", { class: "chat before", tabindex: "0", role: "region", "aria-label": "What was said before" }, ...said(item.before));
    fill(
      this.item,
      this.about(item),
      before,
      element("div", { class: "sides" }, side("A", item.a), side("B", item.b)),
    );
    before.scrollTop = before.scrollHeight;
    scrollTo(0, 0);
    this.item.focus({ preventScroll: true });
  }

  /** Who the user is, to be opened if the dialogue leaves it unclear; it stays open for the next items. */
  about(item) {
    const details = element("details", { class: "note", open: this.open }, element("summary", {}, `${item.title}: who the ${item.who.user} is`), element("p", { dir: "auto" }, described(item.condition)));
    details.addEventListener("toggle", () => (this.open = details.open));
    return details;
  }

  async end() {
    await this.ask({ do: "finish" });
    fill(this.item, element("h2", {}, "The review has ended."), element("p", {}, "You can close this page."));
    for (const button of this.buttons) button.disabled = true;
  }
}

new ReviewPage(document.getElementById("review"));
