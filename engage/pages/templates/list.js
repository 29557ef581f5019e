"use strict";

/** An element with attributes and children; texts become text nodes, so nothing that was said is ever read as markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Put these children, without those that are missing, in place of what an element has. */
function fill(parent, ...children) {
  parent.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

/** A number with two decimals; a dash for none. */
function number(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
}

/** A small difference, such as a gap: three decimals, or two digits where those would be lost. */
function gap(value) {
  if (value === null || value === undefined || value === 0 || Math.abs(value) >= 0.01) return number(value, 3);
  return Math.abs(value) < 0.0001 ? "< 0.0001" : number(value, 4);
}

/** A number with its interval: 0.62 [0.40, 0.80]. */
function bounded(value, low, high) {
  return low === null || low === undefined || value === null ? number(value) : `${number(value)} [${number(low)}, ${number(high)}]`;
}

function counted(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

function shortened(text, length = 160) {
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

/**
 * A long list of rows of one height (the property --row of its box). Only the rows in view and the active one are in the document.
 * `render(index)` makes a row; the active row alone can be reached by the Tab key.
 */
class LongList {
  constructor(box, render) {
    this.box = box;
    this.render = render;
    this.inner = element("div", { class: "long", role: "presentation" });
    this.rows = new Map();
    this.count = 0;
    this.active = 0;
    box.replaceChildren(this.inner);
    box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(box);
  }

  get height() {
    return parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 32;
  }

  /** Show `count` rows anew, with one of them active. */
  reset(count, active = 0) {
    this.count = count;
    this.active = Math.max(0, Math.min(active, count - 1));
    this.rows.clear();
    this.inner.replaceChildren();
    this.inner.style.height = `${count * this.height}px`;
    this.draw();
  }

  draw() {
    const height = this.height;
    const first = Math.max(0, Math.floor(this.box.scrollTop / height) - 3);
    const last = Math.min(this.count - 1, Math.ceil((this.box.scrollTop + this.box.clientHeight) / height) + 3);
    const wanted = new Set([this.active]);
    for (let index = first; index <= last; index++) wanted.add(index);
    for (const [index, row] of this.rows) {
      if (!wanted.has(index)) {
        row.remove();
        this.rows.delete(index);
      }
    }
    for (const index of wanted) {
      if (index >= this.count || index < 0 || this.rows.has(index)) continue;
      const row = this.render(index);
      row.style.top = `${index * height}px`;
      row.tabIndex = index === this.active ? 0 : -1;
      this.rows.set(index, row);
      const after = [...this.rows.keys()].filter((other) => other > index).sort((a, b) => a - b)[0];
      this.inner.insertBefore(row, after === undefined ? null : this.rows.get(after));
    }
  }

  /** Make a row the active one and scroll until it can be seen; with `focus` it gets the keyboard. */
  activate(index, focus = false) {
    if (!this.count) return;
    this.active = Math.max(0, Math.min(index, this.count - 1));
    const top = this.active * this.height;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.height > this.box.scrollTop + this.box.clientHeight) {
      this.box.scrollTop = top + this.height - this.box.clientHeight;
    }
    this.draw();
    for (const [other, row] of this.rows) {
      row.tabIndex = other === this.active ? 0 : -1;
      row.setAttribute("aria-selected", other === this.active ? "true" : "false");
    }
    if (focus) this.rows.get(this.active).focus({ preventScroll: true });
  }

  /** Rows that fit into the box. */
  get page() {
    return Math.max(1, Math.floor(this.box.clientHeight / this.height) - 1);
  }
}
