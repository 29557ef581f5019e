"use strict";

/** One search tree: the columns of sql/inspect/page_nodes.sql by node, and its simulations and pairs. */
class Tree {
  constructor(data, domain, ends) {
    Object.assign(this, data);
    this.ends = ends;
    this.speakers = domain;
    this.children = this.nodes.parent.map(() => []);
    this.nodes.parent.forEach((parent, node) => {
      if (parent !== null) this.children[parent].push(node);
    });
    this.onSpine = new Set(this.spine);
    this.onVisited = new Set(this.visited);
    this.isHigher = new Set(this.higher);
    this.through = null;
  }

  get size() {
    return this.nodes.parent.length;
  }

  /** Nodes from the root down to this one. */
  path(node) {
    const found = [];
    for (let at = node; at !== null; at = this.nodes.parent[at]) found.unshift(at);
    return found;
  }

  /** Who said the turn that led to a node; null at the root. */
  role(node) {
    if (node === 0) return null;
    return this.nodes.kind[this.nodes.parent[node]] === "decision" ? "assistant" : "user";
  }

  who(role) {
    return role === "assistant" ? this.speakers.assistant : this.speakers.user;
  }

  /** The turns of the path below the opening, as [role, text, flaw]. */
  turns(node) {
    return this.path(node).slice(1).map((at) => [this.role(at), this.nodes.text[at], this.nodes.flaw[at]]);
  }

  /** The simulations that went through a node. */
  simulationsAt(node) {
    if (this.through === null) {
      this.through = this.nodes.parent.map(() => []);
      for (const simulation of this.simulations) {
        for (const at of this.path(simulation.leaf)) this.through[at].push(simulation);
      }
    }
    return this.through[node];
  }

  /** The turns of a simulation below a node, to its end. */
  rest(simulation, node) {
    const path = this.path(simulation.leaf);
    const below = path.slice(path.indexOf(node) + 1);
    return [...below.map((at) => [this.role(at), this.nodes.text[at], this.nodes.flaw[at]]), ...simulation.turns];
  }

  /** The pair of two sibling replies, in either order; undefined if they are none. */
  pairOf(one, other) {
    return this.pairs.find(
      (pair) => (pair.chosen === one && pair.rejected === other) || (pair.chosen === other && pair.rejected === one),
    );
  }
}

/** The address of a place on this page, to be pasted into a message. */
function address(fields) {
  return `#${new URLSearchParams(fields)}`;
}

/** Put a place into the address bar without a new entry in the history; a frame may forbid it, which costs only the address. */
function remember(hash) {
  try {
    history.replaceState(null, "", hash);
  } catch {
    /* the link beside the place still works */
  }
}

const KINDS = {
  decision: ["■", "decision node: the assistant speaks next"],
  chance: ["●", "chance node: the user speaks next"],
  terminal: ["▲", "end of the dialogue"],
};

/** What became of a pair, in words. */
function fateOf(pair, words) {
  return pair.fate === null ? "not judged yet (engage align does that)" : words[pair.fate] || pair.fate;
}
