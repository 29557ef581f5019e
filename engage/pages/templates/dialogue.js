"use strict";

/** A user condition in one line. */
function described(condition) {
  return Object.entries(condition)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => (name === "person" || name === "situation" ? String(value) : `${name}: ${value}`.replaceAll("_", " ")))
    .join(" · ");
}

/** One turn as a bubble. */
function bubble(role, name, text, { flaw = null, className = "" } = {}) {
  const label = flaw ? `${name}, kept with a flaw: ${flaw.replaceAll("_", " ")}` : name;
  return element(
    "div",
    { class: `turn ${role} ${className}` },
    element("span", { class: "who" }, label),
    element("p", { class: "said", dir: "auto" }, text || "(nothing was said)"),
  );
}

function bubbles(tree, turns, className = "") {
  return turns.map(([role, text, flaw]) => bubble(role, tree.who(role), text, { flaw, className }));
}

/** The exit survey of a simulation in words. */
function survey(tree, simulation) {
  const said = simulation.answer;
  const value = `${number(simulation.value)} (${tree.speakers.unit})`;
  const reward = simulation.reward === null ? "no reward" : `reward ${number(simulation.reward)}`;
  const sentence =
    simulation.unread !== null
      ? `The exit survey was ${shortened(simulation.unread, 400)}.`
      : simulation.reader === "expected"
        ? `Expected answer ${value}; the likeliest choice is “${said}”.`
        : `Answer “${shortened(said, 400)}”: ${value}.`;
  return element(
    "div",
    { class: "survey" },
    element("span", { class: "who" }, "exit survey"),
    element("p", { class: "question", dir: "auto" }, tree.speakers.question),
    element("p", { class: "said", dir: "auto" }, sentence),
    element("p", { class: "reward" }, `${reward}; the end: ${tree.ends[simulation.end] || simulation.end.replaceAll("_", " ")}`),
  );
}

/** A simulation below a node as a line that opens: its answer and reward, then its turns and the survey. */
function future(tree, simulation, node) {
  const rest = tree.rest(simulation, node);
  const unread = simulation.reader === "unasked" ? "survey not asked" : "no readable answer";
  const answer = simulation.value === null ? unread : `answer ${number(simulation.value)}`;
  const reward = simulation.reward === null ? "no reward" : `reward ${number(simulation.reward)}`;
  const details = element(
    "details",
    { class: "future" },
    element("summary", {}, `simulation ${simulation.number}: ${reward}, ${answer}, ${counted(rest.length, "turn")} more`),
  );
  details.addEventListener(
    "toggle",
    () => details.append(...bubbles(tree, rest, "played"), survey(tree, simulation)),
    { once: true },
  );
  return details;
}

/** A line that opens to `count` more simulations; null for none. */
function more(count, made) {
  if (count <= 0) return null;
  const details = element("details", { class: "future" }, element("summary", {}, `${counted(count, "more simulation")}`));
  details.addEventListener("toggle", () => details.append(...made()), { once: true });
  return details;
}

/** What happened below a reply: each sampled user turn with its mean reward, and the simulations through it. */
function futures(tree, reply, most = 20, opened = 3) {
  const found = tree.children[reply].map((turn) => {
    const simulations = tree.simulationsAt(turn);
    return element(
      "li",
      {},
      bubble("user", tree.who("user"), tree.nodes.text[turn], { flaw: tree.nodes.flaw[turn] }),
      element(
        "p",
        { class: "note" },
        `mean reward ${number(tree.nodes.q[turn])} over ${counted(simulations.length, "simulation")} `,
        element("a", { href: address({ scenario: tree.scenario, node: turn }) }, "show in the tree"),
      ),
      ...simulations.slice(0, opened).map((simulation) => future(tree, simulation, turn)),
      more(simulations.length - opened, () => simulations.slice(opened).map((simulation) => future(tree, simulation, turn))),
    );
  });
  for (const simulation of tree.simulationsAt(reply)) {
    if (simulation.leaf === reply) found.push(element("li", {}, future(tree, simulation, reply)));
  }
  const left = found.length - most;
  return [
    element("p", { class: "note" }, `Rewards are from 0 (worst) to 1 (best); answers are to the exit survey (${tree.speakers.unit}).`),
    element("ul", { class: "futures" }, ...found.slice(0, most)),
    left > 0 ? element("p", { class: "note" }, `and ${left} more in the tree`) : null,
  ];
}
