"""Prints a stored dialogue, and a search tree, as a person reads them. Text of models is escaped by the console."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from engage.domains import Domain, allow_modules, load_domain
from engage.errors import ConfigError, QueryError
from engage.evaluation.night_page.trees import higher_values, visited_path
from engage.home import Home
from engage.simulation import without_value
from engage.store import TrajectoryStore
from flows.cli.asking import tell
from flows.cli.reading import store_to_read
from flows.cli.showing import visible

Row = Mapping[str, Any]


def show_dialogue(console: Console, wanted: str, domain_modules: Sequence[str], live: bool) -> None:
    """Print one dialogue by its id, or by a beginning that no other id has; QueryError for any other."""
    allow_modules(domain_modules)
    store = store_to_read(Home.from_env(), live, tell)
    (row,) = store.rows("dialogue", {"id": find_dialogue_id(store, wanted)})
    domain = _domain(row["domain"])
    _print_user(console, row)
    lines = store.rows("dialogue_lines", {"id": row["id"]})
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column()
    for line in lines:
        said = Text(visible(line["text"]))
        note = _note(line)
        number = Text(str(line["turn_index"]), style="dim")
        table.add_row(number, Text(_speaker(domain, line["role"]), style="bold"), said)
        if note:
            table.add_row("", "", Text(visible(note), style="dim"))
    console.print(Padding(table, (1, 0, 1, 0)))
    _print_end(console, row, domain)


def show_tree(console: Console, wanted: str, cycle: str | None, domain_modules: Sequence[str], live: bool) -> None:
    """Print the search tree of one scenario; QueryError for a scenario that was not searched, or not in that cycle."""
    allow_modules(domain_modules)
    store = store_to_read(Home.from_env(), live, tell)
    found = _searched(store, wanted, cycle)
    domain = _domain(found["domain"])
    nodes = store.rows("tree_nodes", {"tree": found["tree_id"]})
    simulations = next((node["visits"] for node in nodes if node["parent_id"] is None), 0)
    console.print(f"{found['tree_id']}: {simulations} simulations, {found['withdrawn']} failed, split {found['split']}")
    console.print(
        Text(
            "N simulations went through a line; Q is their mean reward, ± its standard error. > marks the turns that the search moved "
            "along, ★ the most visited path, ☆ a reply beside it with a higher Q: few visits can make a Q high by chance.",
            style="dim",
        )
    )
    table = Table.grid(padding=(0, 1))
    for name in ("N", "Q", ""):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column()
    table.add_row(*(Text(title, style="dim") for title in ("N", "Q", "±")))
    for turn in json.loads(found["opening"] or "[]"):
        table.add_row("", "", "", Text(visible(f"{_speaker(domain, turn['role'])}: {turn['text']}")))
    path = visited_path(nodes)
    marks = dict.fromkeys(path, "★") | dict.fromkeys(higher_values(nodes, path), "☆")
    for node in _in_order(nodes):
        table.add_row(*_tree_row(domain, node, marks.get(node["node_id"], " ")))
    console.print(Padding(table, (1, 0, 0, 0)))


def find_dialogue_id(store: TrajectoryStore, wanted: str) -> str:
    """The id that is `wanted` or the only one that begins so; QueryError for any other."""
    found = [str(row["id"]) for row in store.rows("matching_dialogues", {"prefix": wanted})]
    if not found:
        raise QueryError(
            f"no dialogue's id begins with {wanted!r:.120}; `engage sql --name best_and_worst` shows some ids"
        )
    if len(found) > 1:
        more = " and more" if len(found) > 5 else ""
        raise QueryError(f"{wanted!r:.120} begins several ids: {', '.join(found[:5])}{more}; write more of it")
    return found[0]


def _searched(store: TrajectoryStore, wanted: str, cycle: str | None) -> Row:
    """The tree of the latest cycle that searched the scenario, or of the cycle that was named."""
    rows = store.rows("searched_scenarios", {"prefix": wanted, "cycle": cycle})
    if not rows:
        elsewhere = store.rows("searched_scenarios", {"prefix": wanted}) if cycle else []
        where = f"; it was in {', '.join(dict.fromkeys(row['cycle'] for row in elsewhere))}" if elsewhere else ""
        inside = f"in cycle {cycle!r}" if cycle else "in any cycle"
        raise QueryError(
            f"no scenario whose id begins with {wanted!r:.80} was searched {inside}{where}; `engage sql --name tree_cost` lists those that were"
        )
    names = list(dict.fromkeys(row["scenario"] for row in rows))
    if wanted in names:
        names = [wanted]
    if len(names) > 1:
        more = " and more" if len(names) > 5 else ""
        raise QueryError(f"{wanted!r:.80} begins several scenarios: {', '.join(names[:5])}{more}; write more of it")
    return next(row for row in rows if row["scenario"] == names[0])


def _domain(name: str | None) -> Domain | None:
    """The domain, if this process may load it: without it names and survey answers are shown as they are stored."""
    try:
        return load_domain(name) if name else None
    except ConfigError as error:
        tell(f"shown without its domain: {error}")
        return None


def _speaker(domain: Domain | None, role: str) -> str:
    if domain is None:
        return role
    return domain.user_name if role == "user" else domain.assistant_name


def _print_user(console: Console, row: Row) -> None:
    if row["purpose"] == "search":
        user = f" with the {row['simulator']} simulator" if row["simulator"] else ""
        held = f"simulation {row['simulation']} of {row['simulations']} in the search of {row['scenario']}{user}"
    elif row["purpose"] == "fork":
        held = f"{row['id'].rpartition('/fork/')[0]}, forked and continued by {row['policy']}"
    elif row["purpose"] == "human":
        held = f"a dialogue between people, {row['scenario']}"
    else:
        held = f"{row['purpose']} of {row['policy']} with the simulator {row['simulator']}, scenario {row['scenario']}"
    console.print(Text(visible(row["id"]), style="bold"), soft_wrap=True)
    console.print(f"{held}, cycle {row['cycle']}, split {row['split'] or 'unknown'}")
    console.print()
    print_condition(console, "The user is", json.loads(row["user_condition"] or "{}"))


def print_condition(console: Console, beginning: str, condition: dict[str, Any]) -> None:
    """Print a user condition: `beginning` and who it is, what happened, and what else is known."""
    console.print(Text.assemble((f"{beginning} ", "bold"), visible(str(condition.pop("person", "unknown")))))
    if situation := condition.pop("situation", None):
        console.print(Padding(Text(visible(str(situation))), (0, 0, 0, 2)))
    if condition:
        known = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in condition.items())
        console.print(Padding(Text(visible(known), style="dim"), (0, 0, 0, 2)))


def _note(line: Row) -> str:
    """What is known of a turn beside its text: its value in the tree, its pairs, how it was drawn."""
    parts = []
    if line["visits"] is not None:
        value = "no reward yet" if line["q_value"] is None else f"Q {line['q_value']:.3f}"
        parts.append(f"N {line['visits']}, {value}")
        if line["role"] == "assistant" and line["siblings"] > 1:
            parts.append(f"place {line['place']} of {line['siblings']} replies")
        if line["sides"]:
            parts.append(f"{line['sides']} in an accepted pair")
    if line["attempts"] > 1:
        reasons = f": {', '.join(line['redrawn'])}" if line["redrawn"] else ""
        parts.append(f"draw {line['attempts']}, after {line['attempts'] - 1} flawed{reasons}")
    if line["flaw"]:
        parts.append(f"still flawed: {line['flaw']}")
    return "; ".join(parts)


def _print_end(console: Console, row: Row, domain: Domain | None) -> None:
    exchanges = f"{row['exchanges']} exchange" + ("" if row["exchanges"] == 1 else "s")
    console.print(f"Ended after {exchanges}: {row['end_reason']}.")
    console.print(Text.assemble(("Exit survey: ", "bold"), visible(answered(row, domain))))
    if row["purpose"] == "evaluation":
        console.print(f"Other policies here: `engage sql --name side_by_side --param scenario={row['scenario']}`.")
    if row["purpose"] == "search":
        depth, start = row["tree_depth"] or 0, row["root_exchange"]
        turns = (
            f"its first {depth} turns after the opening are in the tree"
            if depth
            else "none of its turns is in the tree"
        )
        console.print(
            f"In the tree: {turns}, the others were played to the end; it started at exchange {start + 1}. "
            f"See `engage tree {row['scenario']} --cycle {row['cycle']}`."
        )


def answered(row: Row, domain: Domain | None) -> str:
    """The answer to the exit survey in words, with the reward."""
    if row["value"] is None:
        return f"{without_value(row['reader'], row['reaction_text'])}; no reward."
    words = f"answers {row['value']:.2f}"
    if domain is not None and row["user_condition"]:
        try:
            words = domain.in_words(domain.condition_type.model_validate_json(row["user_condition"]), row["value"])
        except (ConfigError, ValidationError) as error:
            tell(f"shown without its domain's words: {error}")
    reward = "no reward" if row["reward"] is None else f"reward {row['reward']:.3f}"
    said = f" (in the user's words: {row['reaction_text']})" if row["reader"] == "pattern" else ""
    return f"{words}{said}; {reward}."


def _in_order(nodes: Sequence[Row]) -> Iterable[Row]:
    """The nodes below the root depth first, siblings by visits; iterative, because a tree may be deep."""
    children: dict[int, list[Row]] = {}
    for node in nodes:
        if node["parent_id"] is not None:
            children.setdefault(node["parent_id"], []).append(node)
    waiting = [node["node_id"] for node in nodes if node["parent_id"] is None]
    known = {node["node_id"]: node for node in nodes}
    while waiting:
        node = known[waiting.pop()]
        if node["parent_id"] is not None:
            yield node
        below = sorted(children.get(node["node_id"], []), key=lambda child: (child["visits"], -child["node_id"]))
        waiting += [child["node_id"] for child in below]


def _tree_row(domain: Domain | None, node: Row, best: str) -> tuple[Any, ...]:
    value = "" if node["q_value"] is None else f"{node['q_value']:.3f}"
    error = "" if node["q_error"] is None else f"{node['q_error']:.3f}"
    notes = [node["flaw"], node["side"] and f"{node['side']} in an accepted pair", node["end_reason"]]
    note = f"  [{'; '.join(part for part in notes if part)}]" if any(notes) else ""
    mark = ">" if node["spine_index"] is not None else " "
    text = Text.assemble(
        visible(f"{mark}{best} {_speaker(domain, node['role'])}: {node['text']}"), (visible(note), "dim")
    )
    return str(node["visits"]), value, error, Padding(text, (0, 0, 0, 2 * (node["depth"] - 1)))
